"""Options and arguments that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from provocative.cli.parsing import (
    parse_duration,
    parse_grams,
    parse_instant,
    parse_mib,
    parse_money,
    parse_share,
)

Argument, Option = typer.Argument, typer.Option

RentalId = Annotated[str, Argument(metavar="RENTAL", help="As ps shows it, rnt_….")]
HostId = Annotated[str, Argument(metavar="HOST", help="As hosts shows it, hst_….")]
GpuTypeName = Annotated[str, Argument(metavar="GPU_TYPE", help="Such as H100-SXM-80GB.")]
RegionName = Annotated[str, Argument(metavar="REGION", help="Such as eu-north-1.")]
Reason = Annotated[str, Option("--reason", help="Why; it stands in the audit trail.")]

Limit = Annotated[int | None, Option("--limit", metavar="N", min=1, max=100, help="At most so many.")]
Cursor = Annotated[str | None, Option("--cursor", metavar="CURSOR", help="Go on where a page ended.")]
All = Annotated[bool, Option("--all", help="Read every page.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]
IdempotencyKey = Annotated[
    str | None,
    Option("--idempotency-key", metavar="KEY", help="Done once, however often it is repeated with this key."),
]

GpuType = Annotated[str | None, Option("--gpu-type", "-g", metavar="NAME", help="Such as H100-SXM-80GB.")]
GpuCount = Annotated[int | None, Option("--gpus", "-n", metavar="N", help="GPUs on one host.")]
Region = Annotated[str | None, Option("--region", "-r", metavar="NAME", help="Such as eu-north-1.")]
Class = Annotated[str | None, Option("--class", metavar="CLASS", help="on_demand, spot or reserved.")]
MaxPrice = Annotated[
    int | None,
    Option("--max-price", metavar="AMOUNT", parser=parse_money, help="Per GPU and hour, such as 2.49."),
]
MinMemory = Annotated[
    int | None, Option("--min-memory", metavar="SIZE", parser=parse_mib, help="Of one GPU: 80GB, 40GiB.")
]
MaxIntensity = Annotated[
    int | None,
    Option("--max-intensity", metavar="GRAMS", parser=parse_grams, help="Of CO2e per kWh, such as 45."),
]
MinReliability = Annotated[
    int | None, Option("--min-reliability", metavar="SHARE", parser=parse_share, help="Such as 99.9%.")
]

Image = Annotated[str | None, Option("--image", "-i", metavar="IMAGE", help="Container image.")]
Env = Annotated[
    list[str] | None,
    Option("--env", "-e", metavar="NAME=VALUE", help="NAME alone takes the value from here. Repeatable."),
]
Ports = Annotated[
    list[str] | None, Option("--port", "-p", metavar="PORT[/udp]", help="Opened on the host. Repeatable.")
]
SshKeys = Annotated[
    list[Path] | None,
    Option(
        "--ssh-key", metavar="FILE", help="Public key that may log in, ~/.ssh/id_ed25519.pub. Repeatable."
    ),
]
VolumeText = Annotated[
    str | None, Option("--volume", metavar="SIZE:PATH", help="A disk of its own, 500GiB:/data.")
]
Command = Annotated[
    list[str] | None, Argument(metavar="[-- COMMAND...]", help="What to run; else what the image starts.")
]

Label = Annotated[str | None, Option("--label", "-l", metavar="TEXT", help="A name of yours.")]
MaxDuration = Annotated[
    int | None,
    Option("--max-duration", metavar="DURATION", parser=parse_duration, help="Ends after 2h30m, 7d."),
]
IdleStop = Annotated[
    int | None,
    Option("--idle-stop", metavar="DURATION", parser=parse_duration, help="Ends after 30m without use."),
]
IdleBelow = Annotated[
    int | None, Option("--idle-below", metavar="PERCENT", help="What counts as unused; 5 if left out.")
]
IdleAction = Annotated[
    str | None, Option("--idle-action", metavar="ACTION", help="stop (keeps the volume) or terminate.")
]
StartAt = Annotated[
    str | None, Option("--start-at", metavar="INSTANT", parser=parse_instant, help="Not before.")
]
StopAt = Annotated[
    str | None, Option("--stop-at", metavar="INSTANT", parser=parse_instant, help="Stops then.")
]
Deadline = Annotated[
    str | None,
    Option("--deadline", metavar="INSTANT", parser=parse_instant, help="Not started any more after this."),
]
From = Annotated[
    str | None,
    Option("--from", metavar="INSTANT", parser=parse_instant, help="2026-11-23T09:00Z, now or +2h30m."),
]
To = Annotated[
    str | None,
    Option("--to", metavar="INSTANT", parser=parse_instant, help="2026-11-23T12:00Z or +5h."),
]
Nodes = Annotated[
    int | None, Option("--nodes", metavar="N", help="Hosts of one cluster: all start, or none.")
]
WaitAtMost = Annotated[
    int | None,
    Option("--wait-at-most", metavar="DURATION", parser=parse_duration, help="Give up waiting, not renting."),
]
