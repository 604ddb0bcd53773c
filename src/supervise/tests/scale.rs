//! Thousands of services: what one event costs must not grow with how many there are.
//!
//! Wall time is not asserted on; relations looked at are counted instead.

