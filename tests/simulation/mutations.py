"""Faults put into the library on purpose: the simulation has to find each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation", "catch", "catch_all"]

ROOT = Path(__file__).parent.parent.parent

SEEDS = 6000
"""Within how many seeds a mutation has to be found."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One replacement in the library's code.

    Attributes:
        file: below ``mpzmq/``.
        old: stands there exactly once.
        why: which promise is broken by it.
        world: where it is found.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    world: str = "network"

    def apply(self, root: Path) -> None:
        """Changes the copy of the library below ``root``.

        Raises:
            ValueError: the old text does not stand there exactly once.
        """
        path = root / "mpzmq" / self.file
        text = path.read_text("utf-8")
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"mutation {self.name!r}: its old text stands {count} times in {self.file}, not once")
        path.write_text(text.replace(self.old, self.new), "utf-8")


MUTATIONS = [
    Mutation(
        "a failed request is not counted",
        "protocol/requester/tracker.py",
        "(entry.waiter, self.counted(make_error(entry)))",
        "(entry.waiter, make_error(entry))",
        "issued == replied + failed + cancelled + in_flight",
    ),
    Mutation(
        "an engine asks more than the container keeps replies",
        "protocol/requester/tracker.py",
        "min(self._limits.in_flight, max_unanswered(limits))",
        "self._limits.in_flight",
        "a lost connection loses nothing",
    ),
    Mutation(
        "what waited for WELCOME is more than the container keeps replies",
        "protocol/requester/tracker.py",
        "return None if held_back <= 0 else",
        "return None if True else",
        "a lost connection loses nothing",
    ),
    Mutation(
        "what waits for all engines of a container has no bound",
        "protocol/session/backlog.py",
        "        return self.bytes > self._look_at\n",
        "        return False\n",
        "memory is bounded",
    ),
    Mutation(
        "an upload is asked for again, since its items found no session",
        "protocol/requester/tracker.py",
        "elif code == Code.NO_SESSION and entry.send_stream is not None and entry.send_stream.has_credit:",
        "elif False:",
        "what has run does not run again",
    ),
    Mutation(
        "what has ended may still leave",
        "protocol/requester/tracker.py",
        "            self.outbox.remove(entry.tag)\n            self._close_streams",
        "            self._close_streams",
        "executed NO: it never runs",
    ),
    Mutation(
        "a request in parts is said to have left with its first",
        "protocol/flow/outbox.py",
        "last = (parts.item,) if size == parts.remaining else ()",
        "last = (parts.item,)",
        "what has not left is not lost",
    ),
    Mutation(
        "parts go on where they stopped, on another connection",
        "protocol/flow/outbox.py",
        "            self.large_bytes += self.parts.item.size\n        self.parts.restart()\n",
        "            pass\n",
        "a request arrives as it was sent",
    ),
    Mutation(
        "what has come of a request is kept when it is cancelled",
        "protocol/session/request_reassembly.py",
        "        peer.reassembler.forget(tag)\n",
        "",
        "a request arrives as it was sent",
    ),
    Mutation(
        "small requests pass a large one to the same function",
        "protocol/flow/outbox.py",
        "elif key is None or key not in behind:",
        "else:",
        "requests start in issue order",
    ),
    Mutation(
        "resends in reverse order",
        "protocol/requester/tracker.py",
        "self.outbox.sort(lambda entry: entry.sequence)",
        "self.outbox.sort(lambda entry: -entry.sequence)",
        "requests start in issue order",
    ),
    Mutation(
        "a cancelled caller is forgotten, not its request",
        "engine/request_sender.py",
        "        if self._requester.cancel(entry):\n",
        "        if False:\n",
        "every request ends, and is counted as what it was",
    ),
    Mutation(
        "executed NO for what was sent",
        "protocol/requester/request.py",
        "Executed.UNKNOWN if self.sent or self.may_have_run_elsewhere else Executed.NO",
        "Executed.UNKNOWN if self.may_have_run_elsewhere else Executed.NO",
        "executed never lies",
    ),
    Mutation(
        "one redial too many",
        "protocol/health/redials.py",
        "self.failed >= policy.max_attempts",
        "self.failed > policy.max_attempts",
        "exactly N redials",
    ),
    Mutation(
        "lost_after ends nothing",
        "protocol/requester/outage.py",
        "lambda entry: entry.sent and entry.lost_after is not None",
        "lambda entry: False",
        "a caller is not left to its deadline by a container that is gone",
    ),
    Mutation(
        "BUSY counts as DOWN",
        "protocol/requester/outage.py",
        "            self._counted, self._since = now - self._since, None\n",
        "            pass\n",
        "lost_after counts seconds of DOWN",
    ),
    Mutation(
        "the count of DOWN begins anew behind BUSY",
        "protocol/requester/outage.py",
        "self._since = now - self._counted",
        "self._since = now",
        "only WELCOME resets the count",
    ),
    Mutation(
        "WELCOME does not reset the count of DOWN",
        "protocol/requester/outage.py",
        "        self._counted, self._since = 0.0, None\n",
        "        self._since = None\n",
        "lost_after counts since the last WELCOME",
    ),
    Mutation(
        "what may run twice is given up, too",
        "protocol/requester/options.py",
        "lost_after if ends_idempotent or not idempotent else None\n",
        "lost_after\n",
        "what is idempotent waits for its container",
    ),
    Mutation(
        "calls wait for engines that are away",
        "container/lost_engines.py",
        "            self._calls.on_loss(lost)\n",
        "",
        "a handler is not left to its deadline by an engine that is gone",
    ),
    Mutation(
        "what was given up is not cancelled",
        "protocol/requester/requester.py",
        "        for tag in self.outage.expire(now, why):\n            self.cancels.add(tag)",
        "        for _ in self.outage.expire(now, why):\n            pass",
        "nobody works for a caller who has left",
    ),
    Mutation(
        "busy is taken for dead",
        "protocol/health/liveness.py",
        "return stuck_after is not None and now >= self.last_heard + stuck_after",
        "return now >= self.last_heard + (stuck_after or 2 * self._policy.interval)",
        "BUSY is not DOWN",
    ),
    Mutation(
        "deaf to read reports",
        "protocol/flow/window.py",
        "        self._read_messages = min(max(messages, self._read_messages), self._sent_messages)\n",
        "",
        "no request waits for ever",
    ),
    Mutation(
        "CANCEL is swallowed",
        "protocol/session/table.py",
        "                batch.cancel(peer, tag)",
        "                pass",
        "cancelling the caller cancels the handler",
    ),
    Mutation(
        "an engine's GOODBYE is swallowed",
        "protocol/session/table.py",
        "                batch.closed_sessions.add(peer)",
        "                pass",
        "a worker that closes leaves no handler running",
    ),
    Mutation(
        "old connections are heard",
        "protocol/session/table.py",
        "        known = peer is not None and peer.route == route\n        if",
        "        known = peer is not None\n        if",
        "what arrives from a superseded connection never runs",
    ),
    Mutation(
        "a request before HELLO ends badly",
        "protocol/requester/tracker.py",
        "code == Code.NO_SESSION or ",
        "",
        "what has not run is sent again after WELCOME",
    ),
    Mutation(
        "deadlines are not kept in the container",
        "handlers/dispatcher.py",
        "                    self._cancel(running, CancelReason.DEADLINE)",
        "                    pass",
        "the handler is cancelled at the deadline",
    ),
    Mutation(
        "plain handlers overtake tasks",
        "handlers/dispatcher.py",
        "elif self._tasks.beginning:",
        "elif self._tasks.beginning < 0:",
        "requests start in issue order",
    ),
    Mutation(
        "plain handlers share a context",
        "handlers/dispatcher.py",
        "self._new_context().run(self._call, running)",
        "self._call(running)",
        "no request sees what another has set",
    ),
    Mutation(
        "tasks begin in the context of the request that made room for them",
        "handlers/dispatcher.py",
        "self._spawn(running, job, self._new_context())",
        "self._spawn(running, job, None)",
        "no request sees what another has set",
    ),
    Mutation(
        "changes of state hold nobody back",
        "handlers/dispatcher.py",
        "            self._admission.changes.begin(running)\n",
        "            pass\n",
        "what stands behind a change of state waits until it has ended",
    ),
    Mutation(
        "what waits behind a change of state is not judged anew",
        "handlers/dispatcher.py",
        "            self._loop.call_soon(self._judge_those_behind, running.engine)\n",
        "            pass\n",
        "no request waits for ever",
    ),
    Mutation(
        "only the first of several changes is waited for",
        "handlers/state_changes.py",
        "        if peer in self._under_way or (limiter",
        "        if (limiter",
        "what stands behind a change of state waits until it has ended",
    ),
    Mutation(
        "a result that cannot be sent is no answer",
        "handlers/dispatcher.py",
        "        except Exception as error:  # a message cannot carry it",
        "        except ZeroDivisionError as error:",
        "a caller hears, whatever a handler returns",
    ),
    Mutation(
        "a value may raise what it likes when it is read",
        "protocol/wire/encoder.py",
        ".value(value, 0)\n        except BaseException as error:",
        ".value(value, 0)\n        except _UnfitError as error:",
        "what is heard is what there was",
    ),
    Mutation(
        "an error of an odd class is told by its own words",
        "handlers/responses.py",
        "        except BaseException as failed:  # an error",
        "        except ZeroDivisionError as failed:  # an error",
        "a caller hears, whatever a handler raises",
    ),
    Mutation(
        "a text is taken as it comes",
        "common/text.py",
        "    except BaseException as error:",
        "    except ZeroDivisionError as error:",
        "a caller hears, whatever there is to be shown",
    ),
    Mutation(
        "a signature is shown as it is",
        "handlers/registry.py",
        "        return shown(self.signature)",
        "        return str(self.signature)",
        "arguments that do not fit are told as that",
    ),
    Mutation(
        "one request that cannot be judged takes along those that were read with it",
        "handlers/admission.py",
        "            except BaseException as error:  # a TypeError, but",
        "            except TypeError as error:  # a TypeError, but",
        "arguments that do not fit are told as that",
    ),
    Mutation(
        "what cannot be sent is not counted",
        "handlers/dispatcher.py",
        "        self.counters.on_ended(running, REFUSED if is_refusal else FAILED)\n",
        "        if not isinstance(error, TypeError):\n            self.counters.on_ended(running, FAILED)\n",
        "received == replied + failed + refused + cancelled + in_flight",
    ),
    Mutation(
        "exit in a task ends the container",
        "handlers/coroutines.py",
        "CancelReason.INTERRUPTED)\n        raise\n    except BaseException as error:\n",
        "CancelReason.INTERRUPTED)\n        raise\n    except Exception as error:\n",
        "a handler ends its request and nothing else",
    ),
    Mutation(
        "a drain does not wait for its replies to be read",
        "container/session_driver.py",
        "        await self.dispatcher.idle()\n        await self._all_read()",
        "        return",
        "a drain finishes what it has accepted",
    ),
    Mutation(
        "a timer outlives the container",
        "container/session_driver.py",
        "for timer in (self._retry, self.ticks):",
        "for timer in (self._retry,):",
        "nothing is left after close",
    ),
    Mutation(
        "what the socket refuses is lost",
        "engine/link_driver.py",
        "                outgoing.origin.requeue(outgoing)\n",
        "                pass\n",
        "no request waits for ever",
    ),
    Mutation(
        "a cancelled handler is not counted",
        "handlers/dispatcher.py",
        "        self.counters.on_ended(running, CANCELLED)\n        if ending is CancelReason.ENGINE:",
        "        if ending is CancelReason.ENGINE:",
        "received == replied + failed + refused + cancelled + in_flight",
    ),
    Mutation(
        "the reply cache is off",
        "protocol/session/session.py",
        "            self.replies.keep(item)\n",
        "            pass\n",
        "a handler runs at most once per session, id and instance",
    ),
    Mutation(
        "running requests are not joined",
        "handlers/dispatcher.py",
        "self._running.get((peer, tag)) if peer.in_flight else None",
        "None",
        "a handler runs at most once per session, id and instance",
    ),
    Mutation(
        "errors are not kept as answers",
        "handlers/dispatcher.py",
        "        self._reply(running.engine, self.deduplicator.as_reply(running, item))\n",
        "        self._reply(running.engine, item)\n",
        "a handler that raised does not run again",
    ),
    Mutation(
        "a cancelled run is forgotten",
        "handlers/deduplication.py",
        "            running.engine.replies.keep(self.as_reply(running, item))\n",
        "            pass\n",
        "an id that is issued again is told what became of it",
    ),
    Mutation(
        "receipts count before the requests in front of them",
        "protocol/session/table.py",
        "                batch.acks.append((len(requests), peer, record[1], record[2]))\n",
        "                peer.replies.acknowledge(record[1], record[2])\n",
        "a request that comes again in front of its receipt does not run again",
    ),
    Mutation(
        "the low-water mark is one too high",
        "protocol/requester/tracker.py",
        ".sequence if self.pending else self._sequence + 1",
        ".sequence + 1 if self.pending else self._sequence + 2",
        "what can still be sent is not stale",
    ),
    Mutation(
        "late replies are acknowledged",
        "protocol/requester/tracker.py",
        "            if tag not in self.ended_ids and len",
        "            if len",
        "an id that ended without its reply may be issued again, and does not run again",
    ),
    Mutation(
        "resends are swallowed",
        "protocol/requester/tracker.py",
        "        self._put_back([entry for entry in again if entry.tag not in outbox])\n",
        "",
        "a lost connection loses nothing",
    ),
    Mutation(
        "a restart is taken for the same container",
        "protocol/link/link.py",
        "self._send_policy.on_reconnected(previous != instance, resumed, now)",
        "self._send_policy.on_reconnected(False, True, now)",
        "what is not idempotent is not sent to another instance",
    ),
    Mutation(
        "what was sent ends with its connection",
        "protocol/requester/tracker.py",
        "(failure.is_forgotten or (on_purpose and not entry.idempotent) or entry.send_stream is not None)\n",
        "not entry.idempotent\n",
        "a lost connection loses nothing",
    ),
    Mutation(
        "a late reply is given to another body under its id",
        "protocol/requester/request_ids.py",
        "        return self._digests.get(entry.tag, entry.digest) != entry.digest\n",
        "        return False\n",
        "a reply is that of what was asked",
    ),
    Mutation(
        "a gate lets one too many in",
        "handlers/concurrency.py",
        "if self._inside < self._max_concurrency and not self.called:",
        "if self._inside <= self._max_concurrency and not self.called:",
        "max_concurrency",
    ),
    Mutation(
        "a gate stays closed",
        "handlers/concurrency.py",
        "            return self._waiting.popitem(last=False)[0]\n",
        "            return None\n",
        "no request waits for ever",
    ),
    Mutation(
        "marks say that everything has begun",
        "handlers/invocation.py",
        "if running.started and running.started_sent is False:",
        "if running.started_sent is False or not running.started:",
        "executed YES: a handler was started",
    ),
    Mutation(
        "a stream begins anew on a new connection",
        "protocol/flow/send_stream.py",
        "            self.sent = received\n",
        "            self.sent = self.received = 0\n",
        "a stream goes on behind what has come",
    ),
    Mutation(
        "a stream goes on behind what was lost",
        "protocol/flow/send_stream.py",
        "            self.sent = received\n",
        "            pass\n",
        "a stream goes on behind what has come",
    ),
    Mutation(
        "items beyond the credit",
        "protocol/flow/send_stream.py",
        "        max_items = min(max_items, self.waiting, self._credit - self.sent)\n",
        "        max_items = min(max_items, self.waiting)\n",
        "no more is sent than may be",
    ),
    Mutation(
        "nobody gives credit",
        "protocol/flow/receive_stream.py",
        "        if self._ended:\n            return False\n",
        "        if self._ended or self._taken:\n            return False\n",
        "a stream does not stand still",
    ),
    Mutation(
        "the end of a stream is not acknowledged",
        "protocol/requester/tracker.py",
        "return receive_stream.credit_record() if receive_stream.end_unacknowledged else None",
        "return None",
        "a stream ends",
    ),
    Mutation(
        "what has come of a stream is not told after WELCOME",
        "protocol/requester/requester.py",
        "        for tag, receive_stream in self.tracker.receive_streams():\n",
        "        for tag, receive_stream in ():\n",
        "a stream goes on after a lost connection",
    ),
    Mutation(
        "an upload goes on behind a lost connection",
        "protocol/requester/tracker.py",
        "(failure.is_forgotten or (on_purpose and not entry.idempotent) or entry.send_stream is not None)\n",
        "(on_purpose and not entry.idempotent)\n",
        "uploads end with their connection",
    ),
    Mutation(
        "items that came after the deadline",
        "protocol/requester/tracker.py",
        "                entry.receive_stream.clear()  # a reader",
        "                pass  # a reader",
        "a stream ends by its deadline",
    ),
    Mutation(
        "a stream does not wait for its item in parts",
        "protocol/flow/stream_scheduler.py",
        " or flow.is_ready or tag in self._in_parts:",
        " or flow.is_ready:",
        "a stream is in order",
    ),
    Mutation(
        "a channel is left before its function has what was sent",
        "engine/streams.py",
        "                await self._hand_over()\n",
        "                pass\n",
        "what was sent is handed over before a channel is left",
    ),
    Mutation(
        "a function is said to be done with what it has not been given",
        "protocol/flow/receive_stream.py",
        "        return self._ended and self._handled == self.received\n",
        "        return self._ended\n",
        "what was sent is handed over before a channel is left",
    ),
    Mutation(
        "an engine does not keep what it has answered to calls",
        "protocol/responder/nested_calls.py",
        "            self.replies.keep(item)\n",
        "            pass\n",
        "a call runs at most once",
    ),
    Mutation(
        "what was called inside a request goes on after it",
        "engine/callbacks.py",
        "        nested_calls.close(parent)",
        "        pass",
        "calls end with their request",
    ),
    Mutation(
        "an engine says NO of calls that it may have run",
        "protocol/responder/nested_calls.py",
        "Executed.NO if record[1] > self._highest else Executed.UNKNOWN",
        "Executed.NO",
        "executed never lies",
    ),
    Mutation(
        "calls are not sent again after a loss",
        "protocol/requester/nested_calls.py",
        "        self._tracker.on_reconnected(None, instance_changed=False)\n",
        "",
        "every call ends",
    ),
    Mutation(
        "what runs for an engine that is gone goes on",
        "handlers/dispatcher.py",
        "                self._cancel(running, CancelReason.AWAY)\n",
        "                pass\n",
        "no handler outlives its engine for longer than orphan_after",
    ),
    Mutation(
        "an engine is away as soon as its connection is lost",
        "handlers/orphans.py",
        "return since + after if",
        "return since if",
        "an engine that is back in time has its answer",
    ),
    Mutation(
        "an engine that is back is still away",
        "protocol/session/presence.py",
        "        self._doubts.pop(peer, None)\n        self.away.pop(peer, None)\n        if peer not in self.here:",
        "        self._doubts.pop(peer, None)\n        if peer not in self.here:",
        "an engine that is back in time has its answer",
    ),
    Mutation(
        "the end of a connection is believed unseen",
        "protocol/session/table.py",
        "                self.presence.suspect(peer, now)\n                peer.send_ping(now)\n",
        "                self.detach(peer, '', now)\n",
        "a connection that stands is not taken for lost",
    ),
    Mutation(
        "a connection that may have ended is asked once",
        "protocol/session/presence.py",
        "            asked.append(peer)\n",
        "            pass\n",
        "a lost engine is missed at once",
    ),
    Mutation(
        "the end of a connection is not heard of",
        "container/lost_engines.py",
        "        self._sessions.on_disconnected(routes, self._loop.time())\n",
        "",
        "a lost engine is missed at once",
    ),
    Mutation(
        "what was begun for an engine that was away is not looked at",
        "container/lost_engines.py",
        "        if any(peer.in_flight for peer in self._presence.away):\n",
        "        if False:\n",
        "no handler outlives its engine for longer than orphan_after",
    ),
    Mutation(
        "whoever logs has its errors (promise 12)",
        "common/logs.py",
        "        except BaseException as error:\n            if logging.raiseExceptions",
        "        except ZeroDivisionError as error:\n            if logging.raiseExceptions",
        "writing a line of the log may fail without losing a reply",
        world="applications",
    ),
    Mutation(
        "what on_error raises is the end of it (promise 12)",
        "handlers/error_mapping.py",
        "asyncio.CancelledError):\n        raise\n    except BaseException as failed:",
        "asyncio.CancelledError):\n        raise\n    except ZeroDivisionError as failed:",
        "a caller hears by the deadline, whatever is raised",
        world="applications",
    ),
    Mutation(
        "a callback of progress may raise into its link (promise 12)",
        "engine/progress_callbacks.py",
        "            except BaseException as error:\n",
        "            except ZeroDivisionError as error:\n",
        "nobody else's request is touched",
        world="applications",
    ),
    Mutation(
        "a resolver's poke() may raise into a link (promise 12)",
        "engine/resolvers/source.py",
        "        except BaseException as error:  # whoever tells",
        "        except ZeroDivisionError as error:  # whoever tells",
        "nobody else's request is touched",
        world="applications",
    ),
    Mutation(
        "exit in a resolver ends the program (promise 12)",
        "engine/resolvers/source.py",
        "            except BaseException as error:  # sys.exit(), too",
        "            except Exception as error:  # sys.exit(), too",
        "nobody else's request is touched",
        world="applications",
    ),
    Mutation(
        "middleware goes on as often as it likes (promise 12)",
        "handlers/middleware.py",
        "        self._index = -1\n",
        "        pass\n",
        "a handler runs at most once",
        world="applications",
    ),
    Mutation(
        "a refusal behind proceed() keeps its code (promise 12)",
        "handlers/responses.py",
        "running.chain is not None and not running.started:",
        "running.chain is not None:",
        "executed NO: nothing has run",
        world="applications",
    ),
    Mutation(
        "dependencies are closed where the handler has ended by itself only (promise 13)",
        "handlers/request_chain.py",
        "        if self._dependencies is not None and not self._given_up:\n",
        "        if False:\n",
        "dependencies are closed in the context of their request",
        world="applications",
    ),
    Mutation(
        "what is around a request that has ended holds its arguments (promise 13)",
        "handlers/request_chain.py",
        "        self.call = CallDetails(self._running, (), None, None, None)\n",
        "        pass\n",
        "a request that has ended holds none of its arguments",
        world="applications",
    ),
    Mutation(
        "the error of a hedged request holds its arguments (promise 13)",
        "engine/group_sender.py",
        "            done = pending = set()\n            del task\n",
        "",
        "a request that has ended holds none of its arguments",
        world="applications",
    ),
    Mutation(
        "requests in tasks share a context (promise 13)",
        "handlers/dispatcher.py",
        "            self._spawn(running, None, context)\n",
        "            self._spawn(running, None, None)\n",
        "no request sees what another has set",
        world="applications",
    ),
    Mutation(
        "the links of a group do not know its lost_after (promise 14)",
        "engine/membership.py",
        "                lost_after=self._state.policy.lost_after,\n",
        "                lost_after=None,\n",
        "a caller is not left to its deadline by a container that is gone",
        world="applications",
    ),
    Mutation(
        "the end of a lifespan has no bound (promise 15)",
        "container/lifespan.py",
        "asyncio.timeout(self._end_timeout) as",
        "asyncio.timeout(None) as",
        "everything that ends, ends",
        world="applications",
    ),
    Mutation(
        "close waits for handlers that do not heed it (promise 15)",
        "handlers/dispatcher.py",
        "            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)\n",
        "            await asyncio.wait(tasks)\n",
        "everything that ends, ends",
        world="applications",
    ),
    Mutation(
        "a call waits for all that its middleware has left behind (promise 15)",
        "handlers/middleware.py",
        "        await asyncio.wait((task,), timeout=LEFT_BEHIND_TIMEOUT)\n",
        "        await asyncio.wait((task,))\n",
        "every request ends by its deadline",
        world="applications",
    ),
    Mutation(
        "a resolver goes on behind its group (promise 15)",
        "engine/membership.py",
        "            self._following.cancel()\n",
        "",
        "nothing is left after close",
        world="applications",
    ),
    Mutation(
        "a JOIN that was heard before is heard again",
        "protocol/lobby/lobby.py",
        "        if number <= last:\n",
        "        if False:\n",
        "a replayed JOIN gets nothing",
        world="joining",
    ),
    Mutation(
        "a container that joins again does not take its link along",
        "engine/lobby.py",
        "            dealer.on_joined(route)\n",
        "            pass\n",
        "the newest route wins",
        world="joining",
    ),
    Mutation(
        "a container has left as soon as it is away",
        "protocol/lobby/lobby.py",
        "now >= member.away_since + self._rejoin_within, self._away",
        "now >= member.away_since, self._away",
        "who is back within rejoin_within has not left",
        world="joining",
    ),
    Mutation(
        "a container that stays away never leaves",
        "engine/lobby.py",
        "        if when < math.inf and not self._closed:\n",
        "        if False:\n",
        "who has been away for rejoin_within has left",
        world="joining",
    ),
    Mutation(
        "the end of a joined connection is not looked into",
        "engine/lobby.py",
        "                dealer.on_doubt(route)\n",
        "                pass\n",
        "dead is seen",
        world="joining",
    ),
    Mutation(
        "the JOINs of a container do not rise",
        "container/joining.py",
        "        self._joins += 1\n",
        "        self._joins = 1\n",
        "it comes again after a loss",
        world="joining",
    ),
]  # fmt: skip
"""Every one of them is found by the invariants."""


def catch(mutation: Mutation | None, ignored: list[str], seeds: int = SEEDS) -> str:
    """Runs seeds on a copy of the library until a promise is broken.

    Args:
        mutation: put into the copy; None: none.
        ignored: kinds of violations that the library has without it.
        seeds: how many at most.

    Returns:
        The kinds that were found, with a seed; empty if none was.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        skipped = shutil.ignore_patterns("__pycache__", "*.so")  # what is compiled would run in place of the source
        shutil.copytree(ROOT / "mpzmq", root / "mpzmq", ignore=skipped)
        shutil.copytree(ROOT / "tests" / "simulation", root / "tests" / "simulation", ignore=skipped)
        (root / "tests" / "__init__.py").touch()
        if mutation is not None:
            mutation.apply(root)
        command = [sys.executable, "-m", "tests.simulation", "--until-caught", "--seeds", str(seeds)]
        command += [f"--ignore={kind}" for kind in ignored]
        if mutation is not None:
            command += ["--world", mutation.world]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
            )
        except subprocess.TimeoutExpired:
            return "it hangs"
        if done.returncode not in (0, 1):
            return f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
        return done.stdout.strip() if done.returncode else ""


def catch_all(ignored: list[str]) -> int:
    """Tries all mutations, prints a table, and returns how many were not found."""
    missed = 0
    for mutation in MUTATIONS:
        began = time.monotonic()
        found = catch(mutation, ignored)
        missed += not found
        print(f"{'caught' if found else 'MISSED':7} {time.monotonic() - began:5.1f} s  {mutation.name}")  # noqa: T201
        print(f"{'':17}{found or mutation.why}", flush=True)  # noqa: T201
    print(f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} mutations were caught")  # noqa: T201
    return missed
