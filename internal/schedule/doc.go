// Package schedule reads cron lines and builds the CronJobs that trigger sessions. It is pure.
package schedule
