"""
Watches all tasks of one account for everybody on one event loop who waits for them: one session, one list.

An `Account` has a `Board` for each endpoint. A board asks the list (`Lister`) as long as that answers, and for each
task by itself what the list does not show (`Singles`); `polling.backoff` says how often. Who waits has a `Seat` and is
woken only by news. Nothing in here knows Airflow, creates anything at the vendor, or decides what a task's state
means for its waiter: that is `kling.polling.decide`.
"""

from airflow_provider_kling_avatar.kling.watcher.account import Account
from airflow_provider_kling_avatar.kling.watcher.seats import Seat

__all__ = ["Account", "Seat"]
