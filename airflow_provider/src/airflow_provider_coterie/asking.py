"""Ask a person by Airflow's own human-in-the-loop: what is shown, what may be filled in, and what came of it.

Airflow keeps one question for each task instance, through later tries and clears. Its answer can be taken away, so that
it is asked anew; its words stay those of the first time. So another question is told in the task's log, with a code
that its answer needs: nobody decides on what they have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airflow.sdk import Context, Param

from coterie import JsonValue
from coterie.errors import Misuse
from coterie.ids import check_name, content_hash

__all__ = ["QUESTION_KEY", "Answer", "Question", "form_of", "inline", "put", "told"]

MAX_INLINE_CHARS = 100
# The XCom that names the question which a task asks now.
QUESTION_KEY = "coterie_question"
# No field may be called so.
_CODE = "_code"
_CODE_PARAM = Param(
    None, type=["string", "null"], title="Code", description="Of a question that was asked anew: the task's log has it."
)
_ANEW = (
    "Airflow goes on showing these words when the task asks anew. Its log has the question then, and the code that the "
    "answer needs."
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is shown. body: Markdown. form: what may be filled in beside, as `form_of` gives it.

    users: the ids of those who may answer, as the server's authentication knows them; empty: whoever may act on the
    DAG.
    """

    subject: str
    options: tuple[str, ...]
    body: str = ""
    form: Mapping[str, Any] | None = None
    users: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """Names its words."""
        return content_hash([self.subject, self.body, list(self.options)])[:6]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, and when, in seconds since the epoch.

    values: of what was filled in. names: of the server's user, their id among them; empty: nobody answered. code: of
    the question that it is meant for, if one was given.
    """

    options: tuple[str, ...]
    values: Mapping[str, JsonValue]
    names: tuple[str, ...]
    at: float
    code: str = ""

    @property
    def by(self) -> str | None:
        """The user; None: nobody."""
        return self.names[0] if self.names else None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self | None:
        """The answer that resumed a task; None if something else did."""
        if "chosen_options" not in event:
            return None
        user, at = event.get("responded_by_user") or {}, event.get("responded_at")
        names = tuple(str(user[key]) for key in ("name", "id") if user.get(key))
        values = {name: value for name, value in (event.get("params_input") or {}).items() if value not in (None, "")}
        code = str(values.pop(_CODE, "")).strip()
        return cls(tuple(event["chosen_options"]), values, names, at.timestamp() if at is not None else 0.0, code)

    def choice(self, code: str) -> str:
        """What was chosen. code: that the answer needs; empty: none.

        Raises:
            Misuse: not exactly one option, or another code.
        """
        if len(self.options) != 1:
            raise Misuse(f"{self.by} chose {list(self.options)!r}; choose one")
        if code and self.code and self.code != code:
            raise Misuse(
                f"{self.by} gave the code {self.code!r}, which is wrong: what is asked now has the code {code}; read "
                "it in the task's log, and answer with that"
            )
        if code and not self.code:
            raise Misuse(
                f"{self.by} answered an earlier question, whose words Airflow still shows; read what is asked now in "
                f"the task's log, and answer with its code, {code}"
            )
        return self.options[0]


def put(context: Context, question: Question) -> bool:
    """Put a question to whoever looks at the task on the server; what was answered there before is taken away.

    False: Airflow shows the words of an earlier question. Then `tell` this one, and have its `code` with the answer.
    Blocking.
    """
    from airflow.sdk.api.datamodels._generated import HITLUser
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CreateHITLDetailPayload

    body = f"{question.body}\n\n{_ANEW}".strip()
    shown: Any = task_runner.SUPERVISOR_COMMS.send(
        CreateHITLDetailPayload(
            ti_id=context["ti"].id,
            options=list(question.options),
            subject=question.subject,
            body=body,
            params={**(question.form or {}), _CODE: _CODE_PARAM.serialize()},
            assigned_users=[HITLUser(id=user, name=user) for user in question.users],
        )
    )
    return (shown.subject, shown.body, tuple(shown.options)) == (question.subject, body, question.options)


def told(question: Question) -> str:
    """A question that the server shows other words for, for the task's log."""
    return (
        f"asked anew, while Airflow shows the words of an earlier question: answer this one with the code "
        f"{question.code}, and one of {', '.join(question.options)}\n{question.subject}\n{question.body}"
    )


def form_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The form of fields: `Param`s, or their defaults.

    Raises:
        Misuse: a name that no form can have.
    """
    for name in fields:
        check_name(name, "the field")
    params = {name: field if isinstance(field, Param) else Param(field) for name, field in fields.items()}
    return {name: param.serialize() for name, param in params.items()}


def inline(text: str) -> str:
    """The beginning of anybody's text as one line, which Markdown shows word for word."""
    return "`" + " ".join(text.replace("`", "'").split())[:MAX_INLINE_CHARS] + "`"
