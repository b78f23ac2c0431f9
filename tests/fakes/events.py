"""Events of the cloud's own services, as a function gets them."""

TICK = {
    "version": "0",
    "account": "000000000000",
    "region": "us-east-1",
    "detail": {},
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2027-01-15T08:00:00Z",
    "id": "tick",
    "resources": [],
}
