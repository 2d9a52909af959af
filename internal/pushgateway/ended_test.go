package pushgateway

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// An alert on the age of the last success must not be silent for a year.
func TestASuccessOfAClockThatWasAheadIsNotDatedThen(t *testing.T) {
	t.Parallel()
	const name = "stash_backup_target_last_success_time_seconds"
	for what, tt := range map[string]struct {
		created time.Time
		want    string
	}{
		"only the manager's clock": {at(0, 5).Time, fmt.Sprintf(" %v\n", float64(at(0, 5).Unix()))},
		"both clocks":              {at(0, 5).AddDate(1, 0, 0), ""},
	} {
		g, gateway := NewWithT(t), newGateway(t)
		b := backup(v1alpha1.BackupSessionSucceeded)
		b.Snapshots["snap"].CreationTimestamp = metav1.NewTime(tt.created)
		b.Snapshots["snap"].Status.SnapshotTime = new(metav1.NewTime(at(1, 20).AddDate(1, 0, 0)))
		g.Expect(gateway.Push(t.Context(), BackupSet(b))).To(Succeed())
		text := gateway.pushed(t)
		if tt.want == "" {
			g.Expect(text).NotTo(ContainSubstring("\n"+name+"{"), what)
		} else {
			g.Expect(text).To(MatchRegexp("\n"+name+"{.*}"+regexp.QuoteMeta(tt.want)), what)
		}
	}
}

// The session ends by the clock of the manager, which tells the time of the push as well. An alert on the age of its
// last success must not be silent for a year.
func TestTheSuccessOfASessionIsNotStillToCome(t *testing.T) {
	t.Parallel()
	const name = "stash_backup_last_success_time_seconds"
	year := new(metav1.NewTime(at(1, 30).AddDate(1, 0, 0)))
	run := func(start, end *metav1.Time, now time.Time) Backup {
		b := backup(v1alpha1.BackupSessionSucceeded)
		b.Session.Status.StartTime, b.Session.Status.CompletionTime, b.Now = start, end, now
		b.Snapshots["snap"].CreationTimestamp = *at(0, 2)
		return b
	}
	created := run(at(0, 0), year, at(2, 0).Time)
	created.Session.CreationTimestamp, created.Snapshots = *at(0, 1), nil
	unknown := run(at(0, 0), year, at(2, 0).Time)
	unknown.Snapshots = nil
	unknown.Session.CreationTimestamp = *year
	for what, tt := range map[string]struct {
		b    Backup
		want *metav1.Time
	}{
		"as it should be":                        {run(at(0, 0), at(1, 30), at(2, 0).Time), at(1, 30)},
		"the clock came back before the push":    {run(at(0, 0), year, at(2, 0).Time), at(1, 20)},
		"the clock is ahead during the push":     {run(year, year, year.Add(time.Second)), at(1, 20)},
		"the clock came back, without Snapshots": {created, at(0, 1)},
		"all clocks were ahead":                  {unknown, nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			g, gateway := NewWithT(t), newGateway(t)
			g.Expect(gateway.Push(t.Context(), BackupSet(tt.b))).To(Succeed())
			text := gateway.pushed(t)
			g.Expect(text).To(ContainSubstring("\nstash_backup_session_success{"))
			if tt.want == nil {
				g.Expect(text).NotTo(ContainSubstring("\n" + name + "{"))
				return
			}
			g.Expect(text).To(MatchRegexp("\n" + name + "{.*} " +
				regexp.QuoteMeta(fmt.Sprint(float64(tt.want.Unix()))) + "\n"))
		})
	}
}
