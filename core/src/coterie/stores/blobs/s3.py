"""Blobs in S3, with what only its own interface can do: new ages, pages, many deletions at once, unfinished uploads."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

from coterie.ports import Blob
from coterie.stores.blobs.objects import Objects

__all__ = ["S3"]

_Answer: TypeAlias = Mapping[str, Any]
# S3 copies no larger object in one request.
_MAX_COPY_BYTES = 5 * 2**30
# S3 lists, and deletes, no more in one request.
_PAGE = 1000


class S3(Objects):
    """Objects in a bucket."""

    # Each read is one request, of just what is asked for.
    _reading: Mapping[str, Any] = {"cache_type": "none"}

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None; one request, where the driver would also look for a folder of that name."""
        try:
            return int(self._call("head_object", Key=self._key(name))["ContentLength"])
        except FileNotFoundError:
            return None

    def refresh(self, name: str) -> bool:
        """Copy the object onto itself, within the store."""
        bucket, key = self._bucket, self._key(name)
        try:
            self._call("copy_object", Key=key, CopySource={"Bucket": bucket, "Key": key}, MetadataDirective="REPLACE")
        except FileNotFoundError:
            return False
        except OSError:
            if (self.size_bytes(name) or 0) <= _MAX_COPY_BYTES:
                raise
            return False
        return True

    def entries(self, folder: str) -> Iterator[Blob]:
        """Objects below a folder, a page at a time, then uploads that have not ended."""
        prefix = self._key(folder) + "/"
        for found in self._listed(prefix):
            yield self._blob(found)
        for upload in self._uploads(prefix):
            yield Blob(self._told(upload["Key"]), 0, upload["Initiated"].timestamp(), upload["UploadId"])

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete those that a new listing shows unchanged, right after it."""
        gone = [blob for blob in blobs if blob.upload is not None and self._abort(blob)]
        objects = sorted((blob for blob in blobs if blob.upload is None), key=lambda blob: blob.name)
        for start in range(0, len(objects), _PAGE):
            gone += self._delete_unchanged(objects[start : start + _PAGE])
        return gone

    def clock_s(self) -> float:
        """What the store's answers are dated with."""
        answer = self._call("list_objects_v2", Prefix=self._key(""), MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date).timestamp() if date else time.time()

    @property
    def _bucket(self) -> str:
        return str(self._fs.split_path(self._base)[0])

    def _key(self, name: str) -> str:
        return str(self._fs.split_path(self._path(name))[1])

    def _told(self, key: str) -> str:
        return self._name(f"{self._bucket}/{key}")

    def _call(self, method: str, **arguments: Any) -> _Answer:
        answer: _Answer = self._fs.call_s3(method, Bucket=self._bucket, **arguments)
        return answer

    def _blob(self, found: _Answer) -> Blob:
        return Blob(self._told(found["Key"]), int(found["Size"]), found["LastModified"].timestamp())

    def _listed(self, prefix: str, *, after: str = "") -> Iterator[_Answer]:
        more: dict[str, Any] = {"StartAfter": after} if after else {}
        while True:
            page = self._call("list_objects_v2", Prefix=prefix, MaxKeys=_PAGE, **more)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _uploads(self, prefix: str) -> Iterator[_Answer]:
        more: dict[str, Any] = {}
        while True:
            page = self._call("list_multipart_uploads", Prefix=prefix, MaxUploads=_PAGE, **more)
            yield from page.get("Uploads", ())
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _abort(self, blob: Blob) -> bool:
        try:
            self._call("abort_multipart_upload", Key=self._key(blob.name), UploadId=blob.upload)
        except FileNotFoundError:
            return True
        return True

    def _delete_unchanged(self, blobs: Sequence[Blob]) -> list[Blob]:
        now = self._now({blob.name for blob in blobs}, blobs[0].name, blobs[-1].name)
        gone = [blob for blob in blobs if blob.name not in now]
        unchanged = [blob for blob in blobs if now.get(blob.name) == blob.modified_s]
        if unchanged:
            keys = [{"Key": self._key(blob.name)} for blob in unchanged]
            answer = self._call("delete_objects", Delete={"Objects": keys, "Quiet": True})
            if answer.get("Errors"):
                raise OSError(f"{len(answer['Errors'])} objects were not deleted, the first: {answer['Errors'][0]}")
        return gone + unchanged

    def _now(self, names: set[str], first: str, last: str) -> dict[str, float]:
        """When those objects were last written or refreshed that are there, all of them between two names."""
        found = {}
        prefix = posixpath.commonprefix([self._key(first), self._key(last)])
        # Whatever begins like the first name, but is shorter, lies before it.
        for one in self._listed(prefix, after=self._key(first)[:-1]):
            blob = self._blob(one)
            if blob.name in names:
                found[blob.name] = blob.modified_s
            if blob.name >= last:
                break
        return found
