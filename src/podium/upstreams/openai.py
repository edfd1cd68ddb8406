"""Any server that speaks OpenAI's API: bodies go out and come back as they are, but for known peculiarities."""

from collections.abc import Awaitable, Mapping

from podium.upstreams.account import Account, AccountUpstream, account_head, endpoint_not_supported, origin_of
from podium.upstreams.connection import Answer
from podium.upstreams.quirks import Adapter, openai_error
from podium.upstreams.translated import TranslatedAnswer, dropped_notes, refused

__all__ = ["PATHS", "Account", "OpenAiUpstream", "account_head", "origin_of"]

PATHS: Mapping[str, bytes] = {
    "chat.completions": b"/chat/completions",
    "completions": b"/completions",
    "embeddings": b"/embeddings",
}
_FIRST_ERROR = 400


class OpenAiUpstream(AccountUpstream):
    """One model at one provider (podium.gateway.ports.Upstream). `paths` are relative to the account's base URL."""

    __slots__ = ("_adapter", "_heads", "_pool", "reports_stream_usage")

    endpoints = frozenset(PATHS)

    def __init__(
        self,
        provider: str,
        model: str,
        account: Account,
        *,
        paths: Mapping[str, bytes] = PATHS,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(provider, model, account)
        self.reports_stream_usage = account.reports_stream_usage
        self._pool = account.pool
        self._adapter = adapter
        self._heads = {endpoint: account.request_head(path) for endpoint, path in paths.items()}

    def call(
        self, endpoint: str, body: bytes, *, headers: bytes, deadline_s: float
    ) -> Awaitable[Answer | TranslatedAnswer]:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        InvalidRequest: there is no such endpoint.
        """
        head = self._heads.get(endpoint)
        if head is None:
            raise endpoint_not_supported(endpoint, self.endpoints)
        if self._adapter is not None:
            return self._adapted(self._adapter, head, body, headers, deadline_s)
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (head, headers, len(body), body)
        return self._pool.call(request, deadline_s=deadline_s)

    async def _adapted(
        self, adapter: Adapter, head: bytes, body: bytes, headers: bytes, deadline_s: float
    ) -> Answer | TranslatedAnswer:
        body, dropped = adapter.request(body)
        answer = await self._account.send(head, headers, body, deadline_s)
        if dropped:
            answer.notes = dropped_notes(dropped)
        if answer.status >= _FIRST_ERROR and (said := openai_error(answer.status, answer.body)) is not None:
            return refused(answer, said, notes=answer.notes)
        return answer
