"""A person in the loop: an article is drafted, reviewed on the server, and revised until somebody approves of it.

`python flows/review_until_approved.py article-1` pauses at the review. On the page of the flow run, *Resume* shows the
draft, and what may be done with it: that is an event of the machine, recorded in the journal, with the name that you
give. It can be sent from elsewhere as well, the first one counts:

    coterie machine show article-1
    coterie machine send article-1 revise --payload '{"comment": "shorter"}'

The third version is the last: whoever wants a fourth one ends the run as rejected. Killed while it waits, and started
again with the same word, it asks the same again. Deployed, with person="suspend", no process waits at all.
"""

from __future__ import annotations

import asyncio
import sys

from coterie.teams.article import machine
from prefect_coterie import machine_to_flow

review_until_approved = machine_to_flow(
    machine,
    team="coterie.teams.article:team",
    description="An article that is revised until somebody approves of it.",
)

if __name__ == "__main__":
    asyncio.run(review_until_approved(coterie_run_id=sys.argv[1] if len(sys.argv) > 1 else None))
