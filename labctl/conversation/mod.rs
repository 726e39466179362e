//! The conversation: transcript, idempotency, commands of the replicated store. Pure.
