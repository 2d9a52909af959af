package schedule

import (
	"flag"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

func TestParse(t *testing.T) {
	tests := map[string]struct{ schedule, zone, message string }{
		"five fields":                   {"17 2 * * 1-5", "", ""},
		"a name":                        {"@hourly", "", ""},
		"steps and names":               {"*/15 0-6 1,15 jan-mar sun", "", ""},
		"29 February":                   {"0 0 29 2 *", "", ""},
		"a time zone":                   {"0 2 * * *", "Europe/Berlin", ""},
		"30 February":                   {"0 0 30 2 *", "", "never fires"},
		"31 April":                      {"0 0 31 4 *", "", "never fires"},
		"31 of short months":            {"0 0 31 2,4,6,9,11 *", "", "never fires"},
		"a field without values":        {"0 0 , * *", "", "never fires"},
		"four fields":                   {"0 2 * *", "", "does not parse"},
		"six fields":                    {"0 0 2 * * *", "", "does not parse"},
		"a minute out of range":         {"60 * * * *", "", "does not parse"},
		"words":                         {"every night", "", "does not parse"},
		"nothing":                       {"", "", "does not parse"},
		"an unknown name":               {"@nightly", "", "does not parse"},
		"no fixed slots":                {"@every 5m", "", "no fixed slots"},
		"a zone in the line":            {"CRON_TZ=Europe/Berlin 0 2 * * *", "", "say it in scheduler.timeZone"},
		"a zone and nothing else":       {"TZ=Europe/Berlin", "", "say it in scheduler.timeZone"},
		"a time zone that is unknown":   {"0 2 * * *", "Europe/Bärlin", `time zone "Europe/Bärlin" is unknown`},
		"a time zone outside the files": {"0 2 * * *", "../../etc/passwd", "is unknown"},
		"the machine's own time zone":   {"0 2 * * *", "Local", "not the same everywhere"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := Parse(test.schedule, test.zone)
			if test.message == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(test.message)))
		})
	}
}

func TestNext(t *testing.T) {
	tests := map[string]struct{ schedule, zone, from, want string }{
		"later the same hour":           {"17 * * * *", "", "2026-11-20T08:00:30Z", "2026-11-20T08:17:00Z"},
		"strictly after a slot":         {"17 * * * *", "", "2026-11-20T08:17:00Z", "2026-11-20T09:17:00Z"},
		"just before a slot":            {"17 * * * *", "", "2026-11-20T08:16:59.999Z", "2026-11-20T08:17:00Z"},
		"in another zone":               {"0 2 * * *", "Europe/Berlin", "2026-11-20T08:00:00Z", "2026-11-21T01:00:00Z"},
		"in another zone, in summer":    {"0 2 * * *", "Europe/Berlin", "2026-07-20T08:00:00Z", "2026-07-21T00:00:00Z"},
		"whatever the zone of the time": {"0 2 * * *", "", "2026-11-20T23:30:00+09:00", "2026-11-21T02:00:00Z"},
		"years ahead":                   {"0 0 29 2 *", "", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			from, err := time.Parse(time.RFC3339, test.from)
			g.Expect(err).NotTo(HaveOccurred())
			next, err := Next(test.schedule, test.zone, from)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(next.Format(time.RFC3339)).To(Equal(test.want))
		})
	}
	_, err := Next("0 0 30 2 *", "", time.Time{})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("never fires")))
}

func TestSlotFromJobName(t *testing.T) {
	slot := time.Date(2026, 11, 20, 8, 17, 0, 0, time.UTC)
	tests := map[string]struct {
		job  string
		want time.Time
		ok   bool
	}{
		"a CronJob's Job":           {"trigger-uploads-nightly-29919377", slot, true},
		"a name with digits before": {"trigger-uploads-2-29919377", slot, true},
		"made by hand":              {"try-it", time.Time{}, false},
		"made by hand, with a date": {"trigger-uploads-20261120", time.Time{}, false},
		"made by hand, unix time":   {"trigger-uploads-1795154820", time.Time{}, false},
		"no number":                 {"trigger-uploads-2991937x", time.Time{}, false},
		"a sign is no digit":        {"trigger-uploads-+9919377", time.Time{}, false},
		"only a number":             {"29919377", time.Time{}, false},
		"nothing":                   {"", time.Time{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, ok := SlotFromJobName(test.job)
			g.Expect(ok).To(Equal(test.ok))
			g.Expect(got).To(Equal(test.want))
		})
	}
}

func TestCronJob(t *testing.T) {
	tests := map[string]CronJobInput{
		"testdata/configuration.yaml": {
			Name: "trigger-uploads-nightly", Namespace: "shop", InvokerLabel: "uploads", Session: "nightly",
			Invoker: metav1.OwnerReference{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupConfigurationKind, Name: "uploads", UID: "1",
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			},
			Scheduler:  v1alpha1.SchedulerSpec{Schedule: "0 2 * * *"},
			MoverImage: "mover:test",
		},
		"testdata/batch.yaml": {
			Name: "trigger-backupbatch-shop-hourly", Namespace: "shop", InvokerLabel: "shop", Session: "hourly",
			Invoker: metav1.OwnerReference{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupBatchKind, Name: "shop", UID: "2",
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			},
			Scheduler: v1alpha1.SchedulerSpec{
				Schedule: "17 * * * *", TimeZone: ptr.To("Europe/Berlin"), StartingDeadlineSeconds: ptr.To[int64](600), Suspend: ptr.To(true),
			},
			MoverImage: "mover:test",
		},
	}
	for golden, in := range tests {
		t.Run(golden, func(t *testing.T) {
			g := NewWithT(t)
			got, err := yaml.Marshal(CronJob(in))
			g.Expect(err).NotTo(HaveOccurred())
			if *update {
				g.Expect(os.WriteFile(golden, got, 0o644)).To(Succeed())
			}
			want, err := os.ReadFile(golden)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(got)).To(Equal(string(want)))
		})
	}
}
