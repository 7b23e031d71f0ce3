#!/bin/sh
# A package source like Grafana's own, on this host: signed by a key made here, served at 127.0.0.1:8099 with that key and
# another one in one file. publish.sh PACKAGE FOLDER
set -eu
package=$1 folder=$2
export GNUPGHOME="$folder/keys"
mkdir -p "$GNUPGHOME" "$folder/www/dists/stable/main/binary-all" "$folder/www/pool"
chmod 0700 "$GNUPGHOME"
for name in signer stranger; do
  gpg --batch --quiet --passphrase '' --quick-generate-key "$name@localhost" ed25519 sign never
done
gpg --batch --armor --export > "$folder/www/keys.asc"
gpg --batch --with-colons --list-keys signer@localhost | awk -F: '/^fpr/ {print $10; exit}' > "$folder/fingerprint"
cp "$package" "$folder/www/pool/grafana.deb"
cd "$folder/www"
for architecture in all amd64 arm64; do
  mkdir -p "dists/stable/main/binary-$architecture"
  {
    dpkg-deb --field pool/grafana.deb
    echo "Filename: pool/grafana.deb"
    echo "Size: $(stat -c %s pool/grafana.deb)"
    echo "SHA256: $(sha256sum pool/grafana.deb | cut -d' ' -f1)"
  } > "dists/stable/main/binary-$architecture/Packages"
done
{
  printf 'Origin: stand-in\nSuite: stable\nCodename: stable\nArchitectures: all amd64 arm64\nComponents: main\nDate: %s\nSHA256:\n' \
    "$(date -Ru | sed 's/+0000/UTC/')"
  (cd dists/stable && for file in main/binary-*/Packages; do
    echo " $(sha256sum "$file" | cut -d' ' -f1) $(stat -c %s "$file") $file"
  done)
} > "$folder/Release"
gpg --batch --quiet --local-user signer@localhost --clearsign --output dists/stable/InRelease "$folder/Release"
chmod -R a+rX "$folder/www"
