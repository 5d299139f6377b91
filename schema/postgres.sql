-- What all migration steps of all crates give, in a stable order. Generated: see
-- crates/skep-tests/suite/schema.rs.

CREATE OR REPLACE FUNCTION public.ledger_refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $function$;

CREATE TABLE artifact (
    job text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    bytes bigint NOT NULL,
    place text NOT NULL,
    tier text NOT NULL,
    CONSTRAINT artifact_pkey PRIMARY KEY (job, name)
);

CREATE TABLE attempt (
    job_id text NOT NULL,
    fence bigint NOT NULL,
    id text NOT NULL,
    node text NOT NULL,
    state text NOT NULL,
    harness text,
    model_requested text,
    model_actual text,
    session_id text,
    failure text,
    counted bigint NOT NULL,
    leased_at_ms bigint NOT NULL,
    started_at_ms bigint,
    ended_at_ms bigint,
    CONSTRAINT attempt_pkey PRIMARY KEY (job_id, fence)
);

CREATE TABLE authority (
    job_id text NOT NULL,
    fence bigint NOT NULL,
    holder text NOT NULL,
    CONSTRAINT authority_fence_check CHECK ((fence > 0)),
    CONSTRAINT authority_pkey PRIMARY KEY (job_id)
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0);

CREATE TABLE budget (
    id text NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    limit_micro_usd bigint NOT NULL,
    configured_micro_usd bigint,
    period text NOT NULL,
    on_exhaust text NOT NULL,
    created_at bigint NOT NULL,
    retired_at bigint,
    CONSTRAINT budget_limit_micro_usd_check CHECK ((limit_micro_usd >= 0)),
    CONSTRAINT budget_name_scope_period_key UNIQUE (name, scope, period),
    CONSTRAINT budget_pkey PRIMARY KEY (id)
);

CREATE INDEX budget_in_force ON public.budget USING btree (scope) WHERE (retired_at IS NULL);

CREATE TABLE budget_window (
    budget_id text NOT NULL,
    subject text NOT NULL,
    window_start bigint NOT NULL,
    spent_micro_usd bigint NOT NULL,
    reserved_micro_usd bigint NOT NULL,
    unconfirmed_micro_usd bigint NOT NULL,
    CONSTRAINT budget_window_budget_id_fkey FOREIGN KEY (budget_id) REFERENCES budget(id),
    CONSTRAINT budget_window_pkey PRIMARY KEY (budget_id, subject, window_start),
    CONSTRAINT budget_window_reserved_micro_usd_check CHECK ((reserved_micro_usd >= 0)),
    CONSTRAINT budget_window_spent_micro_usd_check CHECK ((spent_micro_usd >= 0)),
    CONSTRAINT budget_window_unconfirmed_micro_usd_check CHECK ((unconfirmed_micro_usd >= 0))
) WITH (fillfactor=50);

CREATE TABLE call_answer (
    attempt_id text NOT NULL,
    job_id text NOT NULL,
    fence bigint NOT NULL,
    salt bytea NOT NULL,
    text text NOT NULL,
    problem text,
    stop_reason text,
    model_actual text,
    provider_ms bigint NOT NULL,
    CONSTRAINT call_answer_pkey PRIMARY KEY (attempt_id)
);

CREATE INDEX call_answer_by_job ON public.call_answer USING btree (job_id, fence);

CREATE TABLE call_request (
    job_id text NOT NULL,
    request text NOT NULL,
    model text NOT NULL,
    worker text NOT NULL,
    tier text NOT NULL,
    budget_micro_usd bigint,
    timeout_ms bigint NOT NULL,
    CONSTRAINT call_request_pkey PRIMARY KEY (job_id)
);

CREATE TABLE check_run (
    job_id text NOT NULL,
    fence bigint NOT NULL,
    place bigint NOT NULL,
    purpose text NOT NULL,
    commit_oid text NOT NULL,
    command text NOT NULL,
    exit_code bigint,
    duration_ms bigint NOT NULL,
    log text NOT NULL,
    CONSTRAINT check_run_pkey PRIMARY KEY (job_id, fence, purpose, place)
);

CREATE TABLE dead_letter (
    job_id text NOT NULL,
    number bigint NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    class text NOT NULL,
    deaths bigint NOT NULL,
    in_a_row bigint NOT NULL,
    replays bigint NOT NULL,
    died_at bigint NOT NULL,
    CONSTRAINT dead_letter_pkey PRIMARY KEY (job_id)
);

CREATE INDEX dead_letter_open ON public.dead_letter USING btree (number) WHERE (state = ANY (ARRAY['failed'::text, 'quarantined'::text]));

CREATE TABLE delivery (
    job_id text NOT NULL,
    state text NOT NULL,
    place text,
    CONSTRAINT delivery_pkey PRIMARY KEY (job_id)
);

CREATE INDEX delivery_open ON public.delivery USING btree (job_id) WHERE (state = ANY (ARRAY['pending'::text, 'delivering'::text]));

CREATE TABLE dispatch (
    job_id text NOT NULL,
    instruction text NOT NULL,
    repo text,
    vault text,
    base_commit text,
    target_branch text,
    scope text NOT NULL,
    role text NOT NULL,
    tier text NOT NULL,
    worker text NOT NULL,
    harness text NOT NULL,
    model text,
    command text NOT NULL,
    checks text NOT NULL,
    gate text NOT NULL,
    budget_micro_usd bigint,
    waivers text NOT NULL,
    reviewer text,
    reviews text,
    reviewed_commit text,
    rework_rounds_max bigint NOT NULL,
    base_from text,
    artifacts text,
    timeout_ms bigint,
    CONSTRAINT dispatch_pkey PRIMARY KEY (job_id)
);

CREATE TABLE job (
    number bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    id text NOT NULL,
    kind text NOT NULL,
    purpose text NOT NULL,
    owner text NOT NULL,
    project text NOT NULL,
    tier text NOT NULL,
    priority bigint NOT NULL,
    state text NOT NULL,
    run_at_ms bigint NOT NULL,
    attempts_used bigint NOT NULL,
    attempts_max bigint NOT NULL,
    losses bigint NOT NULL,
    parent text,
    failure text,
    created_at_ms bigint NOT NULL,
    changed_at_ms bigint NOT NULL,
    queue text NOT NULL,
    backend text,
    flow_key text,
    flow_key_max bigint,
    singleton text,
    debounce text,
    fence bigint NOT NULL,
    lease_node text,
    lease_until_ms bigint,
    attempt_open bigint NOT NULL,
    lane text NOT NULL,
    order_ms bigint NOT NULL,
    line bigint NOT NULL,
    CONSTRAINT job_check CHECK (((lease_node IS NULL) = (lease_until_ms IS NULL))),
    CONSTRAINT job_check1 CHECK (((lease_node IS NULL) OR (line = 0))),
    CONSTRAINT job_id_key UNIQUE (id),
    CONSTRAINT job_line_check CHECK ((line = ANY (ARRAY[(0)::bigint, (1)::bigint, (2)::bigint]))),
    CONSTRAINT job_pkey PRIMARY KEY (number),
    CONSTRAINT job_state_check CHECK ((state <> ALL (ARRAY['done'::text, 'failed'::text, 'cancelled'::text, 'skipped'::text, 'quarantined'::text])))
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0);

CREATE UNIQUE INDEX job_debounce ON public.job USING btree (owner, debounce) WHERE ((debounce IS NOT NULL) AND (fence = 0));

CREATE INDEX job_later ON public.job USING btree (run_at_ms) WHERE (line = 2);

CREATE INDEX job_leased ON public.job USING btree (lease_node) WHERE (lease_node IS NOT NULL);

CREATE INDEX job_line ON public.job USING btree (lane, order_ms, number) WHERE (line = 1);

CREATE INDEX job_parent ON public.job USING btree (parent) WHERE (parent IS NOT NULL);

CREATE UNIQUE INDEX job_singleton ON public.job USING btree (owner, singleton) WHERE (singleton IS NOT NULL);

CREATE TABLE job_edge (
    parent text NOT NULL,
    child text NOT NULL,
    policy text NOT NULL,
    artifact text NOT NULL,
    outcome text,
    CONSTRAINT job_edge_outcome_check CHECK ((outcome = ANY (ARRAY['met'::text, 'unmet'::text]))),
    CONSTRAINT job_edge_pkey PRIMARY KEY (parent, child, policy, artifact)
);

CREATE INDEX job_edge_child ON public.job_edge USING btree (child);

CREATE TABLE job_history (
    number bigint NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    purpose text NOT NULL,
    owner text NOT NULL,
    project text NOT NULL,
    tier text NOT NULL,
    priority bigint NOT NULL,
    state text NOT NULL,
    run_at_ms bigint NOT NULL,
    attempts_used bigint NOT NULL,
    attempts_max bigint NOT NULL,
    losses bigint NOT NULL,
    parent text,
    failure text,
    created_at_ms bigint NOT NULL,
    changed_at_ms bigint NOT NULL,
    queue text NOT NULL,
    backend text,
    flow_key text,
    flow_key_max bigint,
    singleton text,
    debounce text,
    fence bigint NOT NULL,
    ended_at_ms bigint NOT NULL,
    CONSTRAINT job_history_id_key UNIQUE (id),
    CONSTRAINT job_history_pkey PRIMARY KEY (number),
    CONSTRAINT job_history_state_check CHECK ((state = ANY (ARRAY['done'::text, 'failed'::text, 'cancelled'::text, 'skipped'::text, 'quarantined'::text])))
);

CREATE INDEX job_history_parent ON public.job_history USING btree (parent) WHERE (parent IS NOT NULL);

CREATE TABLE job_key (
    owner text NOT NULL,
    idempotency_key text NOT NULL,
    digest bytea NOT NULL,
    job_id text NOT NULL,
    CONSTRAINT job_key_pkey PRIMARY KEY (owner, idempotency_key)
);

CREATE TABLE job_node (
    job text NOT NULL,
    root text NOT NULL,
    name text,
    depth bigint NOT NULL,
    level bigint NOT NULL,
    edges_open bigint NOT NULL,
    cause text,
    CONSTRAINT job_node_edges_open_check CHECK ((edges_open >= 0)),
    CONSTRAINT job_node_pkey PRIMARY KEY (job)
);

CREATE TABLE job_reason (
    job_id text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT job_reason_pkey PRIMARY KEY (job_id)
);

CREATE TABLE job_tree (
    job text NOT NULL,
    open bigint NOT NULL,
    jobs bigint NOT NULL,
    wake_to text,
    ending bigint NOT NULL,
    CONSTRAINT job_tree_pkey PRIMARY KEY (job)
);

CREATE INDEX job_tree_ending ON public.job_tree USING btree (job) WHERE (ending = 1);

CREATE TABLE landing (
    job_id text NOT NULL,
    state text NOT NULL,
    target text NOT NULL,
    old_commit text,
    commit_oid text,
    read_back_at bigint,
    reason text,
    CONSTRAINT landing_pkey PRIMARY KEY (job_id)
);

CREATE TABLE ledger_chain (
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    low_event bigint NOT NULL,
    high_event bigint NOT NULL,
    entries bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT ledger_chain_pkey PRIMARY KEY (first_seq)
);

CREATE INDEX ledger_chain_event ON public.ledger_chain USING btree (high_event, first_seq);

CREATE INDEX ledger_chain_late ON public.ledger_chain USING btree (last_seq) WHERE ((high_event - low_event) > 65536);

CREATE TRIGGER ledger_chain_is_insert_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.ledger_chain FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

CREATE TABLE ledger_event (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    at_ms bigint NOT NULL,
    kind text NOT NULL,
    version bigint NOT NULL,
    subject text NOT NULL,
    payload bytea,
    CONSTRAINT ledger_event_pkey PRIMARY KEY (id)
);

CREATE INDEX ledger_event_subject ON public.ledger_event USING btree (subject, id);

CREATE TRIGGER ledger_event_is_insert_only BEFORE UPDATE ON public.ledger_event FOR EACH ROW WHEN (((new.payload IS NOT NULL) OR ((new.id <> old.id) OR (new.at_ms <> old.at_ms) OR (new.kind <> old.kind) OR (new.version <> old.version) OR (new.subject <> old.subject)))) EXECUTE FUNCTION ledger_refuse_change();

CREATE TRIGGER ledger_event_keeps_its_rows BEFORE DELETE OR TRUNCATE ON public.ledger_event FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

CREATE TABLE ledger_head (
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    signature bytea,
    last_event bigint NOT NULL,
    gaps bytea NOT NULL,
    CONSTRAINT ledger_head_pkey PRIMARY KEY (seq)
);

CREATE TABLE leftover (
    attempt_id text NOT NULL,
    job_id text NOT NULL,
    fence bigint NOT NULL,
    tip_commit text,
    place text,
    files bigint NOT NULL,
    bytes bigint NOT NULL,
    CONSTRAINT leftover_pkey PRIMARY KEY (attempt_id)
);

CREATE INDEX leftover_by_job ON public.leftover USING btree (job_id, fence);

CREATE TABLE model_call (
    id text NOT NULL,
    key_id text NOT NULL,
    job_id text,
    attempt_id text,
    fence bigint,
    project text,
    worker text,
    tier text NOT NULL,
    provider text NOT NULL,
    model_requested text NOT NULL,
    model_upstream text NOT NULL,
    model_actual text,
    price_book text NOT NULL,
    state text NOT NULL,
    reserved_micro_usd bigint NOT NULL,
    cost_micro_usd bigint NOT NULL,
    input_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    http_status bigint,
    request_sha256 bytea NOT NULL,
    request_bytes bigint NOT NULL,
    holder text NOT NULL,
    deadline_at bigint NOT NULL,
    started_at bigint NOT NULL,
    ended_at bigint,
    CONSTRAINT model_call_key_id_fkey FOREIGN KEY (key_id) REFERENCES virtual_key(id),
    CONSTRAINT model_call_pkey PRIMARY KEY (id),
    CONSTRAINT model_call_state_check CHECK ((state = ANY (ARRAY['reserved'::text, 'settled'::text, 'unconfirmed'::text, 'released'::text])))
);

CREATE INDEX model_call_of_attempt ON public.model_call USING btree (attempt_id) WHERE (attempt_id IS NOT NULL);

CREATE INDEX model_call_of_job ON public.model_call USING btree (job_id) WHERE (job_id IS NOT NULL);

CREATE INDEX model_call_of_key ON public.model_call USING btree (key_id);

CREATE INDEX model_call_under_way ON public.model_call USING btree (id) WHERE (state = 'reserved'::text);

CREATE TABLE node (
    id text NOT NULL,
    host text NOT NULL,
    roles text NOT NULL,
    slots bigint NOT NULL,
    version text NOT NULL,
    shared_id text NOT NULL,
    draining bigint NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    left_at bigint,
    CONSTRAINT node_pkey PRIMARY KEY (id)
);

CREATE TABLE queue_gate (
    one bigint NOT NULL,
    after_lane text NOT NULL,
    CONSTRAINT queue_gate_one_check CHECK ((one = 1)),
    CONSTRAINT queue_gate_pkey PRIMARY KEY (one)
);

CREATE TABLE queue_pause (
    queue text NOT NULL,
    paused_at_ms bigint NOT NULL,
    CONSTRAINT queue_pause_pkey PRIMARY KEY (queue)
);

CREATE TABLE queue_rate (
    name text NOT NULL,
    next_us bigint NOT NULL,
    CONSTRAINT queue_rate_pkey PRIMARY KEY (name)
);

CREATE TABLE reservation (
    call_id text NOT NULL,
    budget_id text NOT NULL,
    subject text NOT NULL,
    window_start bigint NOT NULL,
    amount_micro_usd bigint NOT NULL,
    CONSTRAINT reservation_budget_id_subject_window_start_fkey FOREIGN KEY (budget_id, subject, window_start) REFERENCES budget_window(budget_id, subject, window_start),
    CONSTRAINT reservation_call_id_fkey FOREIGN KEY (call_id) REFERENCES model_call(id),
    CONSTRAINT reservation_pkey PRIMARY KEY (call_id, budget_id)
);

CREATE TABLE result (
    attempt_id text NOT NULL,
    job_id text NOT NULL,
    fence bigint NOT NULL,
    tip_commit text,
    contract text,
    contract_error text,
    report text,
    exit_code bigint,
    isolation text NOT NULL,
    refusals bigint NOT NULL,
    CONSTRAINT result_pkey PRIMARY KEY (attempt_id)
);

CREATE INDEX result_by_job ON public.result USING btree (job_id, fence);

CREATE TABLE review (
    job_id text NOT NULL,
    parent_id text NOT NULL,
    commit_oid text NOT NULL,
    worker text NOT NULL,
    model text,
    verdict text,
    report text,
    CONSTRAINT review_pkey PRIMARY KEY (job_id)
);

CREATE INDEX review_by_parent ON public.review USING btree (parent_id);

CREATE TABLE schedule (
    id text NOT NULL,
    name text NOT NULL,
    owner text NOT NULL,
    state text NOT NULL,
    pause_reason text,
    timing text NOT NULL,
    zone text NOT NULL,
    anchor_ms bigint NOT NULL,
    jitter_ms bigint NOT NULL,
    overlap text NOT NULL,
    overlap_max bigint NOT NULL,
    catch_up text NOT NULL,
    catch_up_max bigint NOT NULL,
    catch_up_window_ms bigint NOT NULL,
    failures_max bigint NOT NULL,
    version bigint NOT NULL,
    cursor_ms bigint NOT NULL,
    due_ms bigint,
    failures bigint NOT NULL,
    missed bigint NOT NULL,
    last_success_ms bigint,
    last_success_job text,
    last_failure_ms bigint,
    last_failure_job text,
    created_at_ms bigint NOT NULL,
    changed_at_ms bigint NOT NULL,
    CONSTRAINT schedule_pkey PRIMARY KEY (id),
    CONSTRAINT schedule_state_check CHECK ((state = ANY (ARRAY['active'::text, 'paused'::text, 'auto_paused'::text, 'removed'::text])))
);

CREATE INDEX schedule_due ON public.schedule USING btree (due_ms) WHERE ((state = 'active'::text) AND (due_ms IS NOT NULL));

CREATE UNIQUE INDEX schedule_name ON public.schedule USING btree (name) WHERE (state <> 'removed'::text);

CREATE TABLE schedule_firing (
    schedule_id text NOT NULL,
    slot_ms bigint NOT NULL,
    cause text NOT NULL,
    state text NOT NULL,
    job_id text,
    failure text,
    reason text,
    fence bigint NOT NULL,
    node text,
    lease_until_ms bigint,
    precheck_exit_code bigint,
    precheck_log text,
    missed_from_ms bigint,
    missed_count bigint NOT NULL,
    begun_at_ms bigint NOT NULL,
    ended_at_ms bigint,
    CONSTRAINT schedule_firing_check CHECK (((node IS NULL) = (lease_until_ms IS NULL))),
    CONSTRAINT schedule_firing_check1 CHECK (((state <> 'running'::text) OR (job_id IS NOT NULL))),
    CONSTRAINT schedule_firing_pkey PRIMARY KEY (schedule_id, slot_ms)
);

CREATE INDEX schedule_firing_by_job ON public.schedule_firing USING btree (job_id) WHERE (job_id IS NOT NULL);

CREATE INDEX schedule_firing_open ON public.schedule_firing USING btree (schedule_id, slot_ms) WHERE (state = ANY (ARRAY['waiting'::text, 'checking'::text, 'running'::text]));

CREATE TABLE schedule_template (
    schedule_id text NOT NULL,
    kind text NOT NULL,
    request text NOT NULL,
    precheck text,
    precheck_nothing_to_do bigint,
    precheck_seconds_max bigint,
    CONSTRAINT schedule_template_pkey PRIMARY KEY (schedule_id)
);

CREATE TABLE schema_step (
    owner text NOT NULL,
    version bigint NOT NULL,
    intent text NOT NULL,
    checksum text NOT NULL,
    applied_at bigint NOT NULL,
    CONSTRAINT schema_step_pkey PRIMARY KEY (owner, version)
);

CREATE TABLE scope_gate (
    one bigint NOT NULL,
    CONSTRAINT scope_gate_one_check CHECK ((one = 1)),
    CONSTRAINT scope_gate_pkey PRIMARY KEY (one)
);

CREATE TABLE shell_request (
    job_id text NOT NULL,
    command text NOT NULL,
    repo text,
    vault text,
    base_commit text,
    scope text NOT NULL,
    tier text NOT NULL,
    timeout_ms bigint NOT NULL,
    output_bytes_max bigint NOT NULL,
    CONSTRAINT shell_request_pkey PRIMARY KEY (job_id)
);

CREATE TABLE shell_run (
    attempt_id text NOT NULL,
    job_id text NOT NULL,
    fence bigint NOT NULL,
    exit_code bigint,
    signal bigint,
    limit_hit text,
    duration_ms bigint NOT NULL,
    output_bytes bigint NOT NULL,
    salt bytea NOT NULL,
    output_sha256 bytea NOT NULL,
    tail text NOT NULL,
    isolation text NOT NULL,
    CONSTRAINT shell_run_pkey PRIMARY KEY (attempt_id)
);

CREATE INDEX shell_run_by_job ON public.shell_run USING btree (job_id, fence);

CREATE TABLE verdict (
    attempt_id text NOT NULL,
    job_id text NOT NULL,
    fence bigint NOT NULL,
    result text NOT NULL,
    commit_oid text,
    findings text NOT NULL,
    found_at bigint NOT NULL,
    CONSTRAINT verdict_pkey PRIMARY KEY (attempt_id)
);

CREATE INDEX verdict_by_job ON public.verdict USING btree (job_id, fence);

CREATE TABLE virtual_key (
    id text NOT NULL,
    secret_sha256 bytea NOT NULL,
    job_id text,
    attempt_id text,
    fence bigint,
    project text,
    worker text,
    models text NOT NULL,
    tier text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    CONSTRAINT virtual_key_check CHECK (((job_id IS NULL) = (fence IS NULL))),
    CONSTRAINT virtual_key_pkey PRIMARY KEY (id),
    CONSTRAINT virtual_key_secret_sha256_key UNIQUE (secret_sha256)
);

CREATE INDEX virtual_key_of_job ON public.virtual_key USING btree (job_id) WHERE (job_id IS NOT NULL);

CREATE VIEW job_all AS
 SELECT job.number,
    job.id,
    job.kind,
    job.purpose,
    job.owner,
    job.project,
    job.tier,
    job.priority,
    job.state,
    job.run_at_ms,
    job.attempts_used,
    job.attempts_max,
    job.losses,
    job.parent,
    job.failure,
    job.created_at_ms,
    job.changed_at_ms,
    job.queue,
    job.backend,
    job.flow_key,
    job.flow_key_max,
    job.singleton,
    job.debounce,
    job.fence,
    job.lease_node,
    job.lease_until_ms,
    job.attempt_open,
    NULL::bigint AS ended_at_ms
   FROM job
UNION ALL
 SELECT job_history.number,
    job_history.id,
    job_history.kind,
    job_history.purpose,
    job_history.owner,
    job_history.project,
    job_history.tier,
    job_history.priority,
    job_history.state,
    job_history.run_at_ms,
    job_history.attempts_used,
    job_history.attempts_max,
    job_history.losses,
    job_history.parent,
    job_history.failure,
    job_history.created_at_ms,
    job_history.changed_at_ms,
    job_history.queue,
    job_history.backend,
    job_history.flow_key,
    job_history.flow_key_max,
    job_history.singleton,
    job_history.debounce,
    job_history.fence,
    NULL::text AS lease_node,
    NULL::bigint AS lease_until_ms,
    (0)::bigint AS attempt_open,
    job_history.ended_at_ms
   FROM job_history;
