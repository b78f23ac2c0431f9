"""Replies in the shape in which the providers give them, from their documentation; figures are invented."""

#: GET /intensity/{from}/{to}: the last half hour has no ``actual`` yet.
UK = {
    "data": [
        {
            "from": "2027-01-15T06:30Z",
            "to": "2027-01-15T07:00Z",
            "intensity": {"forecast": 266, "actual": 263, "index": "moderate"},
        },
        {
            "from": "2027-01-15T07:00Z",
            "to": "2027-01-15T07:30Z",
            "intensity": {"forecast": 259, "actual": 255, "index": "moderate"},
        },
        {
            "from": "2027-01-15T07:30Z",
            "to": "2027-01-15T08:00Z",
            "intensity": {"forecast": 250, "actual": None, "index": "moderate"},
        },
    ]
}
#: GET /v3/carbon-intensity/history?zone=DE
ELECTRICITY_MAPS = {
    "zone": "DE",
    "history": [
        {
            "zone": "DE",
            "carbonIntensity": 302,
            "datetime": "2027-01-15T06:00:00.000Z",
            "updatedAt": "2027-01-15T07:49:11.412Z",
            "createdAt": "2027-01-12T06:48:26.020Z",
            "emissionFactorType": "lifecycle",
            "isEstimated": False,
            "estimationMethod": None,
        },
        {
            "zone": "DE",
            "carbonIntensity": 311,
            "datetime": "2027-01-15T07:00:00.000Z",
            "updatedAt": "2027-01-15T07:49:11.412Z",
            "createdAt": "2027-01-12T07:48:26.020Z",
            "emissionFactorType": "lifecycle",
            "isEstimated": True,
            "estimationMethod": "TIME_SLICER_AVERAGE",
        },
    ],
    "temporalGranularity": "hourly",
}
#: GET /v3/carbon-intensity/forecast?zone=DE
ELECTRICITY_MAPS_FORECAST = {
    "zone": "DE",
    "forecast": [
        {"carbonIntensity": 326, "datetime": "2027-01-15T08:00:00.000Z"},
        {"carbonIntensity": 297, "datetime": "2027-01-15T09:00:00.000Z"},
    ],
    "updatedAt": "2027-01-15T07:55:02.101Z",
    "temporalGranularity": "hourly",
}
#: GET /v3/historical and /v3/forecast, region=CAISO_NORTH, signal_type=co2_moer
WATTTIME_META = {
    "data_point_period_seconds": 300,
    "region": "CAISO_NORTH",
    "warnings": [],
    "signal_type": "co2_moer",
    "model": {"date": "2023-03-01"},
    "units": "lbs_co2_per_mwh",
}
WATTTIME = {
    "data": [
        {"point_time": "2027-01-15T07:50:00+00:00", "value": 870.0},
        {"point_time": "2027-01-15T07:55:00+00:00", "value": 1000.5},
    ],
    "meta": WATTTIME_META,
}
WATTTIME_FORECAST = {
    "data": [
        {"point_time": "2027-01-15T08:00:00+00:00", "value": 995.1},
        {"point_time": "2027-01-15T08:05:00+00:00", "value": 990.0},
    ],
    "meta": WATTTIME_META | {"generated_at_period_seconds": 300, "generated_at": "2027-01-15T08:00:00+00:00"},
}
