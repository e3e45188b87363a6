-- Clips in 50 Dags and 5000 runs, among other tasks with results of their own. Of twenty clips one is under way and one
-- has failed; every second one was sent by one task and waited for by another.
-- In capitals, put in by gallery_kit.py: how many, and the summary of a clip that is ready, with % for its id.
set session_replication_role = replica;  -- what rows refer to is not wanted here

insert into dag_run (id, dag_id, run_id, run_type, run_after, state)
select i + 1, 'dag' || i % 50, 'run' || i, 'manual', now(), 'success' from generate_series(0, 4999) i;

create temporary table a_task as
select i % 5000 + 1 as dag_run_id, 'dag' || i % 50 as dag_id, 'run' || i % 5000 as run_id,
       'other' || i / 5000 as task_id, -1 as map_index, 'success' as state,
       'return_value' as key, '{"rows": 1}'::jsonb as value, now() as "timestamp"
from generate_series(0, OTHERS - 1) i;

insert into a_task
select i % 5000 + 1, 'dag' || i % 50, 'run' || i % 5000, 'wait', i / 5000,
       case i % 20 when 0 then 'deferred' when 1 then 'failed' else 'success' end,
       'kling_clip',
       replace('READY', '%', 'k' || i)::jsonb || case i % 20
           when 0 then '{"state": "rendering"}'::jsonb when 1 then '{"state": "failed"}'::jsonb else '{}'::jsonb end,
       now() - i * interval '1 minute'
from generate_series(0, CLIPS - 1) i;

insert into a_task
select dag_run_id, dag_id, run_id, 'submit', map_index, 'success', key,
       value || '{"state": "submitted", "step": 1}'::jsonb, "timestamp" - interval '1 minute'
from a_task where task_id = 'wait' and dag_run_id % 2 = 0;

insert into task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, pool, pool_slots)
select gen_random_uuid(), dag_id, run_id, task_id, map_index, state, 1, 'default_pool', 1 from a_task;

insert into xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, "timestamp")
select dag_run_id, dag_id, run_id, task_id, map_index, key, value, "timestamp" from a_task;

analyze;
