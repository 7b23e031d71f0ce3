"""The statements of ``pgvector.py``; ``{p}`` is the prefix of the tables' names, ``{where}`` a filter's condition."""

# In the order in which they can be dropped.
TABLES = ("postings", "points", "scopes")
INDEXES = ("points_scope", "points_document", "points_version", "points_embedding", "postings_point")
SCHEMA = """
CREATE TABLE IF NOT EXISTS {p}_scopes (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL,
  collection_id uuid NOT NULL,
  UNIQUE (tenant_id, collection_id));
CREATE TABLE IF NOT EXISTS {p}_points (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  chunk_id uuid NOT NULL UNIQUE,
  scope integer NOT NULL REFERENCES {p}_scopes,
  document_id uuid NOT NULL,
  version_id uuid NOT NULL,
  embedding vector({dimension}) NOT NULL,
  fields jsonb NOT NULL);
CREATE INDEX IF NOT EXISTS {p}_points_scope ON {p}_points (scope);
CREATE INDEX IF NOT EXISTS {p}_points_document ON {p}_points (document_id);
CREATE INDEX IF NOT EXISTS {p}_points_version ON {p}_points (version_id);
CREATE INDEX IF NOT EXISTS {p}_points_embedding ON {p}_points USING hnsw (embedding vector_ip_ops);
CREATE TABLE IF NOT EXISTS {p}_postings (
  term bigint NOT NULL,
  point bigint NOT NULL REFERENCES {p}_points ON DELETE CASCADE,
  scope integer NOT NULL,
  weight real NOT NULL,
  PRIMARY KEY (scope, term, point) INCLUDE (weight));
CREATE INDEX IF NOT EXISTS {p}_postings_point ON {p}_postings (point)"""
NEW_SCOPE = "INSERT INTO {p}_scopes (tenant_id, collection_id) VALUES (:tenant, :collection) ON CONFLICT DO NOTHING"
SCOPE = "SELECT id FROM {p}_scopes WHERE tenant_id = :tenant AND collection_id = :collection"
SIZE = """
SELECT id, (SELECT count(*) FROM {p}_points WHERE scope = s.id) AS size FROM {p}_scopes s
WHERE tenant_id = :tenant AND collection_id = :collection"""
UPSERT = """
INSERT INTO {p}_points (chunk_id, scope, document_id, version_id, embedding, fields)
SELECT c, s, d, v, CAST(e AS vector), CAST(f AS jsonb)
FROM unnest(CAST(:chunks AS uuid[]), CAST(:scopes AS integer[]), CAST(:documents AS uuid[]),
            CAST(:versions AS uuid[]), CAST(:embeddings AS text[]), CAST(:fields AS text[])) AS t (c, s, d, v, e, f)
ON CONFLICT (chunk_id) DO UPDATE SET scope = excluded.scope, document_id = excluded.document_id,
  version_id = excluded.version_id, embedding = excluded.embedding, fields = excluded.fields
RETURNING id, chunk_id"""
POSTINGS = """
INSERT INTO {p}_postings (scope, term, point, weight)
SELECT * FROM unnest(CAST(:scopes AS integer[]), CAST(:terms AS bigint[]), CAST(:points AS bigint[]),
                     CAST(:weights AS real[]))"""
EXACT = """
WITH near AS MATERIALIZED (
  SELECT chunk_id, -(embedding <#> CAST(:question AS vector)) AS score FROM {p}_points WHERE scope = :scope AND {where})
SELECT chunk_id, score FROM near ORDER BY score DESC LIMIT :limit"""
NEAREST = """
SELECT chunk_id, -(embedding <#> CAST(:question AS vector)) AS score FROM {p}_points
WHERE scope = :scope AND {where} ORDER BY embedding <#> CAST(:question AS vector) LIMIT :limit"""
# The inverse document frequency as Qdrant has it, of the collection that is searched.
WORDS = """
WITH asked AS (SELECT * FROM unnest(CAST(:terms AS bigint[]), CAST(:term_weights AS real[])) AS t (term, asked)),
found AS MATERIALIZED (
  SELECT term, point, weight * asked AS weight FROM {p}_postings JOIN asked USING (term) WHERE scope = :scope),
rarity AS (
  SELECT term, ln((CAST(:size AS float8) - count(*) + 0.5) / (count(*) + 0.5) + 1) AS idf FROM found GROUP BY term),
scored AS (SELECT point, sum(weight * idf) AS score FROM found JOIN rarity USING (term) GROUP BY point)
SELECT chunk_id, score FROM scored JOIN {p}_points ON id = point
WHERE {where} ORDER BY score DESC LIMIT :limit"""
