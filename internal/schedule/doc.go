// Package schedule parses cron lines and builds the CronJobs that trigger sessions. It is pure, so it is safe for
// concurrent use.
//
// Invariant: the slots of a session depend only on its schedule, its time zone and its identity.
package schedule
