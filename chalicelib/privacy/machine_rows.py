"""The inventory of machines, rentals, energy and removals. New rows go to the end."""

from chalicelib.privacy.fields import NAMES, Row, describe

MACHINE_ROWS: tuple[Row, ...] = (
    describe(
        "CatalogItem",
        "catalog",
        "what is sold, and what was agreed with an account",
        owned=True,
        none="architecture billing_class gpu_type interconnect memory_mib mig_profile moved_step "
        "parent_gpu_type points power_limit_watts price_micros_per_gib_hour region spot_cap_ppm "
        "spot_floor_ppm terms version",
    ),
    describe(
        "CommandItem",
        "commands",
        "what a host is to do, for its agent",
        owned=True,
        on_erasure="delete",
        because="the agent starts the workload from it; it expires",
        plain="command",
        pseudonymous="command_id host_id",
        none="expires_at",
    ),
    describe(
        "HostItem",
        "fleet",
        "a machine",
        pseudonymous="host_id api_key_id install_id",
        none="agent_version commands_queue_url cordon created_at_ms downtime draining fabric_id faulty_gpus "
        "free_gpus free_leases free_rank gpu_count gpu_type hardware_incidents health_version kept_gpus "
        "kept_until_ms link_groups lost maintenance notice past_maintenance pool region reservable state",
    ),
    describe(
        "RegionWatchItem",
        "fleet",
        "whether a region is seen",
        none="blind_since_ms brake_since_ms clear_since_ms version",
    ),
    describe(
        "GpuItem",
        "fleet",
        "a GPU and who has it",
        pseudonymous="rental_id gpu_uuid parent_uuid",
        none="capabilities capabilities_at_ms epoch fault faulty lease_state link_group memory_mib model "
        "pci_bus_id slices",
    ),
    describe(
        "PoolTotalsItem",
        "fleet",
        "counts",
        none="closed_maintenance closed_unhealthy gpus_active gpus_draining gpus_lost hosts_active "
        "hosts_draining hosts_lost",
    ),
    describe("PoolScoreItem", "fleet", "reliability", none="computed_at_ms gpus reliability_ppm"),
    describe(
        "EnrolmentItem",
        "fleet",
        "lets a machine in once",
        pseudonymous="host_id install_id",
        digest="digest",
        none="created_at_ms expires_at_ms gpu_type region",
    ),
    describe("FabricHostItem", "fleet", "which hosts one network joins", pseudonymous="host_id"),
    describe(
        "FetchStateItem",
        "grid",
        "when a provider is asked again",
        none="accounting attempted_at_ms failures kind next_attempt_ms provider reason signal "
        "succeeded_at_ms zone",
    ),
    describe(
        "IntensityItem",
        "grid",
        "figures of the grid",
        none="dataset estimated fetched_at_ms method mg_co2e_per_kwh revision source valid_from_ms "
        "valid_until_ms",
    ),
    describe(
        "ForecastItem",
        "grid",
        "forecasts of the grid",
        none="dataset expires_at fetched_at_ms generated_at_ms method points source",
    ),
    describe(
        "IncidentItem",
        "incidents",
        "what went wrong with a machine",
        pseudonymous="host_id",
        none="incident_id at_ms details expires_at kind region",
    ),
    describe(
        "HeartbeatItem",
        "liveness",
        "that a machine lives",
        none="agent_version announced boot_id clock_offset_ms conditions gpus_ok last_seen_at_ms "
        "records_lost spool_records suspect_since_ms watch_key withheld_gpus",
    ),
    describe(
        "WindowItem",
        "maintenance",
        "when a machine is worked on",
        pseudonymous="host_id window_id",
        none="category created_at_ms due_at_ms ends_at_ms lead_ms open_key reason starts_at_ms state",
    ),
    describe("ProgressItem", "marks", "how far reports are", pseudonymous="host_id", none="day"),
    describe("DueItem", "marks", "reports to be made", none="marked_at_ms"),
    describe("LateSiteItem", "marks", "energy that came late", none="marked_at_ms"),
    describe(
        "MeterItem",
        "metering",
        "what a stay is billed by",
        owned=True,
        pseudonymous="account_id rental_id host_id leases",
        financial="alive_through_ms charge_seq charged_micros charged_seconds end_reason gpu_count "
        "price_micros_per_gpu_hour slowdown_micros slowed_at_ms slowed_hours started_at_ms state "
        "unproven_ms segment",
        none="idle_since_ms observed_through_ms open_shard region",
    ),
    describe("SiteEnergyItem", "metering", "what a host used, by opaque ids of stays", none="day_shard"),
    describe("DuplicatesItem", "metering", "telemetry that came twice", owned=True, none="duplicates"),
    describe(
        "EnergyItem",
        "metering",
        "what a stay used",
        owned=True,
        pseudonymous="gpu_uuid",
        none="energy_millijoules epoch estimated_millijoules hour intervals intervals_expected "
        "power_brake_ms slowdown_micros slowdown_source thermal_slowdown_ms",
    ),
    describe(
        "CaptureItem",
        "metering",
        "readings of capture units",
        none="received_at_ms standard_deviation unit value",
    ),
    describe(
        "PriceHistoryItem",
        "prices",
        "what things cost",
        none="from_ms origin price_micros_per_gpu_hour set_at_ms version",
    ),
    describe(
        "RegisterItem",
        "register",
        "the public register of certificates",
        financial="act at_ms details hash mass_mg previous_hash serial",
    ),
    describe(
        "BatchItem",
        "removals",
        "credits of removals",
        none="allocated_mg buffer_mg chain_hash children day entries free_mg host_id issued_at_ms issued_mg "
        "region retired_mg revision serial shared_out sold_mg unit_id",
    ),
    describe(
        "CertificateItem",
        "removals",
        "a public claim, which two must not make",
        financial="beneficiary children created_at_ms holder kind mass_mg parent retired_at_ms serial state",
    ),
    describe(
        "RemovalItem",
        "removals",
        "what a capture unit removed",
        pseudonymous="decided_by",
        none="content created_at_ms decided_at_ms evidence issued_before_mg "
        "issued_mg serial state superseded_by version",
    ),
    describe(
        "ShareItem", "removals", "an account's share of removals", owned=True, none="mass_mg serial state"
    ),
    describe(
        "ReportItem",
        "reports",
        "that a carbon report was made; its documents have labels",
        owned=True,
        on_erasure="delete",
        none="created_at_ms digest energy_millijoules estimated operational_mg period version",
    ),
    describe(
        "StayDayItem",
        "reports",
        "a day's energy of a stay",
        owned=True,
        on_erasure="clear",
        because=NAMES,
        plain="label",
        pseudonymous="rental_id host_id",
        none="gpu_count gpu_type hours region segment version",
    ),
    describe(
        "SiteDayItem",
        "reports",
        "a day's energy of a host",
        pseudonymous="host_id",
        none="gpu_count gpu_type platform rented version",
    ),
    describe(
        "ReservationItem",
        "reservations",
        "what is reserved",
        owned=True,
        on_erasure="clear",
        because=NAMES,
        plain="label",
        pseudonymous="account_id reservation_id created_key host_ids",
        financial="cancel_fee_micros credit_due_micros currency deposit_micros price_micros_per_gpu_hour "
        "gpu_count gpu_type node_count starts_at_ms ends_at_ms created_at_ms",
        none="boundary_at_ms boundary_shard broken_at_ms cancelled_at_ms quota_gpus region state version",
    ),
    describe("ReservedQuotaItem", "reservations", "a quota", owned=True, none="available_gpus max_gpus"),
    describe(
        "BookingItem",
        "reservations",
        "GPUs of a host that are promised",
        pseudonymous="host_id open_host_id reservation_id",
        none="ends_at_ms gpu_count served_gpu_ms starts_at_ms state unused_gpus uses",
    ),
    describe("DayItem", "reservations", "a day of a host's calendar", none="expires_at promised"),
    describe("CalendarHeadItem", "reservations", "a host's calendar", none="open_bookings"),
    describe(
        "LaunchItem",
        "scaling",
        "an instance at EC2",
        pseudonymous="host_id instance_id launch_id",
        none="attempts changed_at_ms ended_at_ms ending_since_ms expires_at last_error missing_since_ms "
        "option region requested_at_ms state version",
    ),
    describe(
        "PoolStateItem",
        "scaling",
        "a pool's minute",
        none="blind_since_ms idle_since_ms last_action_at_ms surplus_since_ms version",
    ),
    describe(
        "PoolItem",
        "scaling",
        "how a pool grows",
        none="gpu_type max_hosts min_hosts options region scale_in_after_seconds version warm_gpus",
    ),
    describe("HostLaunchItem", "scaling", "which launch a host is", pseudonymous="launch_id", none="pool"),
    describe(
        "TicketItem",
        "scheduling",
        "a place in line",
        pseudonymous="account_id ticket_id rental_ids pinned_host_id",
        none="billing_class deadline_at_ms fabric_id gpu_count gpu_type max_price_micros_per_gpu_hour pools "
        "preempting_until_ms priority since_ms",
    ),
    describe("QuotaItem", "scheduling", "a quota", owned=True, none="available_gpus is_set max_gpus"),
    describe(
        "SpotStayItem",
        "scheduling",
        "who may be preempted",
        pseudonymous="host_id rental_id",
        none="gpu_count price_micros_per_gpu_hour started_at_ms",
    ),
    describe("LineItem", "scheduling", "a line's count", none="interval_ms last_dispatch_at_ms tickets"),
    describe("SpreadItem", "scheduling", "a spread group, while its stay lasts", pseudonymous="rental_id"),
    describe(
        "TelemetryItem",
        "telemetry",
        "raw readings of a host's GPUs",
        pseudonymous="host_id",
        none="expires_at record sent_at_ms sha256",
    ),
    describe("TelemetryPartItem", "telemetry", "what of a long record is counted already", none="expires_at"),
)
