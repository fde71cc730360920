"""The same with keys on both sides: what encryption and authentication cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpzmq import Security
from mpzmq.keys import KeyPair

from .mpzmq_peer import MpzmqPeer

if TYPE_CHECKING:
    from ..scenarios import Scenario

# The two processes of a measurement have to agree on keys, and these guard nothing: they are public.
CONTAINER = KeyPair(
    public="Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", secret="D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
)
ENGINE = KeyPair(public="rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", secret="JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6")
"""The keys of ZeroMQ's own documentation (zmq_curve)."""


class MpzmqCurvePeer(MpzmqPeer):
    """mpzmq, encrypted and authenticated."""

    name = "mpzmq-curve"
    title = "mpzmq with keys"
    unfair = "It encrypts and authenticates every byte in libzmq's thread; nobody else here does."
    server_security = Security.server(CONTAINER, allow={"engine": ENGINE.public})
    client_security = Security.client(ENGINE, CONTAINER.public)

    def supports(self, scenario: Scenario) -> bool:
        """All but the thousand containers, whose handshakes would be most of what is measured."""
        return scenario.containers < 1000


PEER = MpzmqCurvePeer()
