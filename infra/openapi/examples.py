"""Examples of every request body, which tests hold to the models, and what parameters mean."""

from collections.abc import Mapping
from typing import Any

_RETURN_URL = "https://console.example.com/billing"
_WORKLOAD = {
    "image": "pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime",
    "command": ["python", "train.py"],
    "env": {"EPOCHS": "10"},
    "volume": {"size_gib": 200, "mount_path": "/data"},
}

#: Model -> name of the example -> body.
EXAMPLES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "AccountRequest": {"account": {"name": "Example Lab"}},
    "AccountActionRequest": {
        "suspend": {"action": "suspend", "reason": "Payment disputed, case 118"},
        "lift it": {"action": "unsuspend", "reason": "Dispute settled"},
    },
    "OrganisationRequest": {"organisation": {"name": "Example Lab"}},
    "OrganisationActionRequest": {"close it": {"action": "close"}},
    "OwnershipRequest": {"to another member": {"user_id": "usr_01jd3r8m2k9qv5w7x1y4z6a8bc"}},
    "RoleRequest": {"developer": {"role": "developer"}},
    "InvitationRequest": {"developer": {"email": "ada@lab.example", "role": "developer"}},
    "AcceptanceRequest": {"from the mail": {"token": "the-end-of-the-link-in-the-mail"}},
    "ProjectRequest": {"project": {"name": "Training"}},
    "ProjectChange": {"archive": {"archived": True}, "rename": {"name": "Pretraining"}},
    "ServiceAccountRequest": {"deployment": {"name": "ci", "role": "developer"}},
    "ServiceAccountActionRequest": {"end it": {"action": "disable"}},
    "KeyRequest": {
        "key": {"label": "ci"},
        "key that may do little, from one network, for a while": {
            "label": "ci",
            "permissions": ["rentals:read", "rentals:write"],
            "allowed_networks": ["203.0.113.0/24"],
            "expires_at": "2027-06-30T00:00:00Z",
        },
    },
    "OAuthClientRequest": {
        "web application": {
            "name": "Notebooks",
            "kind": "confidential",
            "redirect_uris": ["https://notebooks.example.com/callback"],
        },
        "native app": {
            "name": "Desktop",
            "kind": "public",
            "redirect_uris": ["http://127.0.0.1/callback"],
        },
    },
    "RotationRequest": {"a day to change over": {}, "at once": {"overlap_seconds": 0}},
    "LeakedKeyRequest": {
        "found in public": {
            "token": "a-token-that-others-can-read",
            "url": "https://forge.example/someone/settings.py",
        },
    },
    "PrivacyRequestRequest": {
        "all that is kept of the account": {"kind": "export"},
        "erasure of the account": {"kind": "erasure", "subject": "account"},
    },
    "ConsentRequest": {
        "do not sell or share": {"purpose": "data_sale", "given": False, "version": "2026-11"},
    },
    "SpendLimitRequest": {
        "limit": {"limit_micros_per_hour": 50_000_000},
        "no limit": {"limit_micros_per_hour": None},
    },
    "BudgetRequest": {
        "of the account": {"name": "November", "limit_micros": 500_000_000},
        "of a label": {
            "name": "Training runs",
            "scope": "label",
            "scope_value": "training",
            "period": "total",
            "limit_micros": 2_000_000_000,
            "hard_stop": False,
            "alert_percents": [50, 90],
        },
    },
    "BudgetChange": {"higher limit": {"limit_micros": 800_000_000}},
    "CreditRequest": {
        "paid": {"amount_micros": 25_000_000, "reason": "Paid by invoice 1042"},
        "promotional": {
            "amount_micros": 10_000_000,
            "reason": "Welcome",
            "kind": "promo",
            "expires_at": "2027-01-31T00:00:00Z",
        },
    },
    "ChargeRequest": {"one-off": {"amount_micros": 40_000_000, "reason": "Data import, 2 TB"}},
    "ReversalRequest": {
        "charge": {
            "journal_key": "CHARGE#rent_01jd3r8m2k9qv5w7x1y4z6a8bc#1#120",
            "reason": "Charged while the disk was not reachable",
        }
    },
    "AgreementRequest": {
        "discount": {
            "terms": [
                {"gpu_type": "H100", "discount_ppm": 150_000, "effective_from": "2026-12-01T00:00:00Z"}
            ],
            "version": 0,
        }
    },
    "GpuTypeRequest": {
        "whole GPU": {
            "architecture": "Hopper",
            "memory_mib": 81_559,
            "power_limit_watts": 700,
            "interconnect": "nvlink",
        },
        "MIG profile": {
            "architecture": "Hopper",
            "memory_mib": 9_856,
            "power_limit_watts": 700,
            "mig_profile": "1g.10gb",
            "parent_gpu_type": "H100",
        },
    },
    "PriceRequest": {
        "from now on": {"price_micros_per_gpu_hour": 2_490_000},
        "spot": {
            "price_micros_per_gpu_hour": 990_000,
            "billing_class": "spot",
            "spot_floor_ppm": 300_000,
            "spot_cap_ppm": 900_000,
        },
    },
    "VolumePriceRequest": {"price": {"price_micros_per_gib_hour": 110}},
    "TemplateRequest": {"training": {"name": "training", "gpu_type": "H100", "gpu_count": 8, **_WORKLOAD}},
    "ReplaceTemplateRequest": {
        "training": {"name": "training", "version": 1, "gpu_type": "H100", "gpu_count": 4, **_WORKLOAD}
    },
    "EnrolmentRequest": {"machine": {"gpu_type": "H100", "region": "us-east-1"}},
    "HostRequest": {
        "machine": {
            "install_id": "install-5f1c2a",
            "agent_version": "0.1.0",
            "gpus": [
                {
                    "gpu_uuid": "GPU-6c1c5b0e-7b8a-4f5e-9a3e-2d4f6b8a0c1e",
                    "pci_bus_id": "00000000:18:00.0",
                    "model": "NVIDIA H100 80GB HBM3",
                    "memory_mib": 81_559,
                }
            ],
        }
    },
    "HostActionRequest": {
        "cordon": {"action": "cordon", "reason": "A fan is loud"},
        "uncordon": {"action": "uncordon"},
    },
    "WindowRequest": {
        "firmware": {
            "host_id": "host_01jd3r8m2k9qv5w7x1y4z6a8bc",
            "category": "network",
            "reason": "New firmware of the switch",
            "starts_at": "2026-12-05T02:00:00Z",
            "ends_at": "2026-12-05T04:00:00Z",
        }
    },
    "WindowActionRequest": {"cancel": {"action": "cancel"}},
    "TopUpRequest": {"50": {"amount_micros": 50_000_000, "return_url": _RETURN_URL}},
    "PageRequest": {"page": {"return_url": _RETURN_URL}},
    "RefundRequest": {"20": {"amount_micros": 20_000_000}},
    "AutoTopUpRequest": {
        "50 below 10": {
            "threshold_micros": 10_000_000,
            "amount_micros": 50_000_000,
            "monthly_limit_micros": 500_000_000,
            "payment_method_id": "pm_1Example",
        }
    },
    "RemovalSettingsRequest": {
        "at most 20 a month": {
            "enabled": True,
            "max_micros_per_month": 20_000_000,
            "beneficiary_name": "Example Lab",
        }
    },
    "DrawRequest": {
        "with the unit's electricity elsewhere": {
            "additions": [
                {
                    "kind": "loss",
                    "mass_mg": 1_200_000,
                    "standard_deviation_mg": 150_000,
                    "source": "Transport to storage, weighed",
                }
            ]
        }
    },
    "RemovalActionRequest": {
        "submit": {"action": "submit", "revision": 1},
        "verify": {"action": "verify", "revision": 1, "evidence": "Report 2026-11 of the verifier"},
        "issue": {"action": "issue", "revision": 1, "buffer_ppm": 50_000},
    },
    "SaleRequest": {"kilogram": {"buyer": "Example Lab", "mass_mg": 1_000_000}},
    "CertificateActionRequest": {
        "split": {"action": "split", "mass_mg": 400_000},
        "retire": {"action": "retire", "beneficiary": "Example Lab"},
    },
    "RentalForm": {
        "container": {
            "gpu_type": "H100",
            "gpu_count": 8,
            "max_price_micros_per_gpu_hour": 2_600_000,
            "label": "training",
            **_WORKLOAD,
        },
        "spot, anywhere, or not at all": {
            "gpu_type": "A100",
            "billing_class": "spot",
            "on_no_capacity": "fail",
            "command": ["./bench"],
            "idle_policy": {"idle_seconds": 900, "action": "terminate"},
        },
        "when the grid is clean": {
            "gpu_type": "H100",
            "image": "ghcr.io/example/embed:1.4",
            "flexible": {
                "finish_by": "2026-12-01T18:00:00Z",
                "duration_seconds": 7_200,
                "regions": ["eu-north-1", "us-west-2"],
            },
        },
        "from a template": {"template_id": "tpl_01jd3r8m2k9qv5w7x1y4z6a8bc", "gpu_count": 4},
    },
    "ChangeRentalRequest": {
        "lock": {"locked": True},
        "no limit of its time": {"max_duration_seconds": None},
    },
    "ActionRequest": {
        "terminate": {"action": "terminate"},
        "resume, or wait": {"action": "resume", "wait": True},
    },
    "QuotaRequest": {"64": {"max_gpus": 64}},
    "CreateReservationRequest": {
        "a night": {
            "gpu_type": "H100",
            "region": "us-east-1",
            "gpu_count": 8,
            "starts_at": "2026-12-05T20:00:00Z",
            "ends_at": "2026-12-06T06:00:00Z",
            "label": "nightly",
        }
    },
    "ReservationActionRequest": {"cancel": {"action": "cancel"}},
    "ReservedQuotaRequest": {"128": {"max_gpus": 128}},
    "PoolRequest": {
        "pool": {
            "min_hosts": 0,
            "max_hosts": 10,
            "warm_gpus": 8,
            "scale_in_after_seconds": 900,
            "options": [
                {
                    "name": "p5-spot",
                    "instance_type": "p5.48xlarge",
                    "gpus_per_host": 8,
                    "availability_zone": "us-east-1a",
                    "purchase": "spot",
                    "launch_template_id": "lt-0a1b2c3d4e5f60718",
                    "list_price_micros_per_hour": 55_040_000,
                }
            ],
        }
    },
    "BillingDetailsRequest": {
        "company": {
            "name": "Example Lab GmbH",
            "address_lines": ["Hauptstrasse 1", "10115 Berlin"],
            "country": "DE",
            "tax_id": "DE123456789",
        }
    },
    "EndpointBodyRequest": {
        "ends of rentals": {
            "url": "https://hooks.example.com/provocative",
            "event_types": ["rental.terminated"],
            "description": "Pipeline",
        }
    },
    "ChangeEndpointRequest": {"switch off": {"enabled": False}},
}

#: What parameters of path and query mean, where their names do not say it.
PARAMETERS: Mapping[str, str] = {
    "max_age": "Ask for a sign-in that is no older than so many seconds, and no less than 60.",
    "account_id": "For operators: whose. Others have their own.",
    "action": "How the action begins: `key.` for all that was done to keys.",
    "actor": "Id of a key, a person or a service account. Operators need this, `target` or `account_id`.",
    "at": "As it was known at this instant; now, if left out.",
    "cursor": "`next_cursor` of the page before.",
    "day": "`yyyy-mm-dd`, UTC.",
    "deadline": "The work is done by then.",
    "earliest": "The work starts no earlier.",
    "from": "From this instant.",
    "from_sequence": "Where to go on: `next_sequence` of the answer before.",
    "max_intensity_mg_per_kwh": "Milligrams of CO2e per kilowatt-hour.",
    "min_reliability_ppm": "Parts of a million.",
    "month": "`yyyy-mm`, UTC.",
    "period": "`yyyy-mm-dd` or `yyyy-mm`, UTC.",
    "regions": "Further regions where the work may run, with commas between them.",
    "sort": "By what; with a hyphen, the last first.",
    "serial": "Of a batch, or of a certificate that was cut from it.",
    "target": "Id of what it was done to: a host, a rental, a pool, a key.",
    "to": "Before this instant.",
    "version": "Of the report; the latest, if left out.",
}

_YEAR = "(19[7-9][0-9]|[2-9][0-9]{3})"
#: How parameters of path and query are written, beyond their types.
FORMS: Mapping[str, Mapping[str, Any]] = {
    "day": {"format": "date", "pattern": f"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}$"},
    "month": {"pattern": f"^{_YEAR}-(0[1-9]|1[0-2])$"},
    "period": {"pattern": f"^{_YEAR}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?$"},
}
#: And of paths alone: a query may ask for what nobody could name.
PATH_FORMS: Mapping[str, Mapping[str, Any]] = {
    **FORMS,
    "gpu_type": {"maxLength": 64, "pattern": "^[A-Za-z0-9][A-Za-z0-9.-]*$"},
}
