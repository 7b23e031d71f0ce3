"""What a chat completion takes and gives, and the conversation in its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.answer.standalone import Exchange
from app.api.fields import NO_NUL
from app.api.query import MAX_QUERY_CHARS
from app.api.retrieval import RetrievalFields
from app.errors import InvalidRequestError

Text = Annotated[str, StringConstraints(pattern=NO_NUL)]


class TextPart(BaseModel):
    """A part of a message; only text can be asked."""

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """The message as one text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """``include_usage`` sends the tokens in a chunk of their own before the end."""

    include_usage: bool = False


class Own(RetrievalFields):
    """How the collection is asked; what is left out follows its settings. (``extra_body`` of OpenAI's clients.)"""

    model_config = ConfigDict(extra="forbid")
    use_cache: bool = True


class ChatRequest(BaseModel):
    """A conversation. What OpenAI's clients send beside these fields is left alone."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "manuals",
                    "messages": [{"role": "user", "content": "How much does a berth cost a night?"}],
                    "stream": False,
                }
            ]
        }
    )
    model: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    anchorage: Own = Own()


class Choice(BaseModel):
    """The answer; ``annotations`` of the message are its citations."""

    index: int
    message: dict[str, Any]
    finish_reason: str
    logprobs: None = None


class ChatUsage(BaseModel):
    """Tokens that the provider counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(BaseModel):
    """An answer in OpenAI's shape; ``anchorage`` is what that has no place for, as in ``/query``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "chatcmpl-4f0c1c0e9b7d4e0f",
                    "object": "chat.completion",
                    "created": 1769850000,
                    "model": "manuals",
                    "choices": [
                        {
                            "index": 0,
                            "message": {
                                "role": "assistant",
                                "content": "A berth costs 34 euros a night [1].",
                                "refusal": None,
                                "annotations": [
                                    {
                                        "type": "url_citation",
                                        "url_citation": {
                                            "start_index": 31,
                                            "end_index": 34,
                                            "title": "Harbour manual",
                                            "url": "urn:uuid:0a6f5f5e-6f0c-4c53-8f0a-3a1f7d1d9b01",
                                        },
                                    }
                                ],
                            },
                            "finish_reason": "stop",
                            "logprobs": None,
                        }
                    ],
                    "usage": {"prompt_tokens": 412, "completion_tokens": 14, "total_tokens": 426},
                    "anchorage": {"grounded": True, "provider": "openai", "request_id": "4f0c1c0e9b7d4e0f"},
                }
            ]
        }
    )
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    anchorage: dict[str, Any]


def conversation_of(messages: Sequence[ChatMessage]) -> tuple[str, list[Exchange]]:
    """The last question, and the exchanges before it.

    Raises:
        InvalidRequestError: the last message is no question, or too long.
    """
    question = messages[-1]
    text = question.text.strip()
    if question.role != "user" or not text:
        raise InvalidRequestError("The last message must be the user's question.")
    if len(text) > MAX_QUERY_CHARS:
        raise InvalidRequestError(f"The question has more than {MAX_QUERY_CHARS} characters.")
    history: list[Exchange] = []
    asked: list[str] = []
    for message in messages[:-1]:
        if message.role == "user":
            asked.append(message.text)
        elif message.role == "assistant" and asked:
            history.append(Exchange("\n".join(asked), message.text))
            asked = []
    return text, history
