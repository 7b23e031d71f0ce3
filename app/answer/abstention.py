"""What is said when the documents hold no answer, in the language of the question."""

from __future__ import annotations

import asyncio
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

DEFAULT = "en"
# Below it, as for "pg_dump restore", the words are of no language in particular.
MIN_PROBABILITY = 0.8
SENTENCES = {
    "en": "I found nothing in these documents that answers this question.",
    "ar": "لم أجد في هذه الوثائق ما يجيب عن هذا السؤال.",
    "cs": "V těchto dokumentech jsem nenašel nic, co by na tuto otázku odpovídalo.",
    "da": "Jeg fandt intet i disse dokumenter, der besvarer dette spørgsmål.",
    "de": "Ich habe in diesen Dokumenten nichts gefunden, was diese Frage beantwortet.",
    "el": "Δεν βρήκα τίποτα σε αυτά τα έγγραφα που να απαντά σε αυτή την ερώτηση.",
    "es": "No encontré nada en estos documentos que responda a esta pregunta.",
    "fi": "En löytänyt näistä asiakirjoista mitään, mikä vastaisi tähän kysymykseen.",
    "fr": "Je n’ai rien trouvé dans ces documents qui réponde à cette question.",
    "he": "לא מצאתי במסמכים האלה דבר שעונה על השאלה הזאת.",
    "hi": "मुझे इन दस्तावेज़ों में ऐसा कुछ नहीं मिला जो इस प्रश्न का उत्तर दे।",
    "it": "In questi documenti non ho trovato nulla che risponda a questa domanda.",
    "ja": "これらの文書には、この質問に答える内容が見つかりませんでした。",
    "ko": "이 문서들에서 이 질문에 답하는 내용을 찾지 못했습니다.",
    "nl": "Ik heb in deze documenten niets gevonden dat deze vraag beantwoordt.",
    "pl": "W tych dokumentach nie ma nic, co odpowiadałoby na to pytanie.",
    "pt": "Não encontrei nada nestes documentos que responda a esta pergunta.",
    "ru": "В этих документах нет ничего, что отвечало бы на этот вопрос.",
    "sv": "Jag hittade inget i de här dokumenten som besvarar frågan.",
    "tr": "Bu belgelerde bu soruyu yanıtlayan bir şey bulamadım.",
    "uk": "У цих документах немає нічого, що відповідало б на це запитання.",
    "vi": "Tôi không tìm thấy nội dung nào trong các tài liệu này trả lời cho câu hỏi này.",
    "zh": "我在这些文档中没有找到能回答这个问题的内容。",
}


async def abstention(question: str) -> str:
    """The sentence to give in place of an answer; English where the language is none of ours, or not plain."""
    return SENTENCES[await asyncio.to_thread(_language, question)]


def _language(text: str) -> str:
    language, probability = _identifier().classify(text)
    return language if probability >= MIN_PROBABILITY else DEFAULT


@cache
def _identifier() -> LanguageIdentifier:
    """Lui and Baldwin 2012, "langid.py"; loading it takes 0.7 s, which only the first abstention waits for."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(SENTENCES)
    return identifier
