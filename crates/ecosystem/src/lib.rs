//! Nothing but its tests and examples: crates of others, run on soloio. `docs/ecosystem.md` is what
//! they hold to the truth.
