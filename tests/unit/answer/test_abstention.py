"""A question without an answer is told so in its own language."""

from __future__ import annotations

import pytest

from app.answer.abstention import SENTENCES, abstention

QUESTIONS = {
    "en": "How deep is the harbour?",
    "ar": "ما عمق الميناء؟",
    "cs": "Jak hluboký je přístav?",
    "da": "Hvor dyb er havnen?",
    "de": "Wie tief ist der Hafen?",
    "el": "Πόσο βαθύ είναι το λιμάνι;",
    "es": "¿Qué profundidad tiene el puerto?",
    "fi": "Kuinka syvä satama on?",
    "fr": "Quelle est la profondeur du port ?",
    "he": "מה עומק הנמל?",
    "hi": "बंदरगाह कितना गहरा है?",
    "it": "Quanto è profondo il porto?",
    "ja": "港の深さはどのくらいですか？",
    "ko": "항구의 깊이는 얼마나 됩니까?",
    "nl": "Hoe diep is de haven?",
    "pl": "Jak głęboki jest port?",
    "pt": "Qual é a profundidade do porto?",
    "ru": "Какая глубина гавани?",
    "sv": "Hur djup är hamnen?",
    "tr": "Liman ne kadar derin?",
    "uk": "Яка глибина гавані?",
    "vi": "Cảng sâu bao nhiêu?",
    "zh": "港口有多深？",
}


def test_every_language_is_asked_in() -> None:
    assert QUESTIONS.keys() == SENTENCES.keys()


@pytest.mark.parametrize(("language", "question"), QUESTIONS.items())
async def test_the_answer_has_the_language_of_the_question(language: str, question: str) -> None:
    assert await abstention(question) == SENTENCES[language]


@pytest.mark.parametrize("question", ["pg_dump restore", "ERR_CONN_RESET", "42", "?", "", "\ud800", "x" * 9000])
async def test_words_of_no_language_in_particular_are_answered_in_english(question: str) -> None:
    assert await abstention(question) == SENTENCES["en"]
