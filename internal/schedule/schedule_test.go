package schedule

import (
	"flag"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

func TestNew(t *testing.T) {
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
		"four fields":                   {"0 2 * *", "", "invalid schedule"},
		"six fields":                    {"0 0 2 * * *", "", "invalid schedule"},
		"a minute out of range":         {"60 * * * *", "", "invalid schedule"},
		"words":                         {"every night", "", "invalid schedule"},
		"nothing":                       {"", "", "invalid schedule"},
		"an unknown name":               {"@nightly", "", "invalid schedule"},
		"no fixed slots":                {"@every 5m", "", "no fixed slots"},
		"a zone in the line":            {"CRON_TZ=Europe/Berlin 0 2 * * *", "", "set scheduler.timeZone"},
		"a zone and nothing else":       {"TZ=Europe/Berlin", "", "set scheduler.timeZone"},
		"a time zone that is unknown":   {"0 2 * * *", "Europe/Bärlin", `unknown time zone "Europe/Bärlin"`},
		"a time zone outside the files": {"0 2 * * *", "../../etc/passwd", "unknown time zone"},
		"the machine's own time zone":   {"0 2 * * *", "Local", "differs between machines"},
		"H in every field":              {"H H H H H", "", ""},
		"H with a step":                 {"H/15 * * * *", "", ""},
		"H in a range":                  {"H H(0-6) * * *", "", ""},
		"H in a range with a step":      {"H(0-29)/10 * * * *", "", ""},
		"H beside other values":         {"H(0-9),30 * * * *", "", ""},
		"a day whose name holds H":      {"0 2 * * THU", "", ""},
		"H without its step":            {"H/ * * * *", "", "is not valid: write H"},
		"H as the end of a range":       {"H-30 * * * *", "", "is not valid: write H"},
		"H with a step beyond its span": {"H/61 * * * *", "", "the step must be between 1 and 60"},
		"H with no step":                {"H/0 * * * *", "", "the step must be between 1 and 60"},
		"H in a range beyond the field": {"* H(0-24) * * *", "", `hour "H(0-24)": the range must lie between 0 and 23`},
		"H in a range that is empty":    {"* H(9-3) * * *", "", "the range must lie between 0 and 23"},
		"H in days that no month has":   {"0 0 H(30-31) 2 *", "", "never fires"},
		"H in lower case":               {"h * * * *", "", "invalid schedule"},
		"H beside a mistake":            {"H 25 * * *", "", `invalid schedule "H 25 * * *"`},
		"H on a day that never comes":   {"H 0 30 2 *", "", `the schedule "H 0 30 2 *" never fires`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := New(&v1alpha1.SchedulerSpec{Schedule: test.schedule, TimeZone: &test.zone},
				"BackupConfiguration/shop/uploads/nightly")
			if test.message == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(test.message)))
		})
	}
}

func times(t testing.TB, line, zone string) Times {
	t.Helper()
	out, err := New(&v1alpha1.SchedulerSpec{Schedule: line, TimeZone: &zone},
		"BackupConfiguration/shop/uploads/nightly")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return out
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
			times := times(t, test.schedule, test.zone)
			g.Expect(times.Next(from).Format(time.RFC3339)).To(Equal(test.want))
			next, err := Next(times.String(), from)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(next).To(Equal(times.Next(from)))
		})
	}
	_, err := Next("0 0 30 2 *", time.Time{})
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
				APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupConfigurationKind, Name: "uploads",
				UID:        "1",
				Controller: new(true), BlockOwnerDeletion: new(true),
			},
			Scheduler: v1alpha1.SchedulerSpec{Schedule: "H 2 * * *", JobTemplate: &v1alpha1.TriggerJobTemplate{
				BackoffLimit: ptr.To[int32](1), ActiveDeadlineSeconds: ptr.To[int64](60),
				TTLSecondsAfterFinished: ptr.To[int32](10),
				Template: v1alpha1.TriggerPodTemplate{
					Metadata: v1alpha1.TriggerMetadata{
						Labels:      map[string]string{"team": "shop"},
						Annotations: map[string]string{"mesh": "off"},
					},
					Controller: v1alpha1.TriggerMetadata{Labels: map[string]string{"team": "jobs"}},
					Spec: v1alpha1.TriggerPodSpec{
						Resources: corev1.ResourceRequirements{
							Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
						},
						NodeSelector:      map[string]string{"pool": "small"},
						Tolerations:       []corev1.Toleration{{Key: "small", Operator: corev1.TolerationOpExists}},
						PriorityClassName: "low", SchedulerName: "slow", RuntimeClassName: new("sandbox"),
						ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
						SecurityContext:  &v1alpha1.TriggerSecurityContext{RunAsUser: ptr.To[int64](1000)},
						Affinity: &corev1.Affinity{
							NodeAffinity: &corev1.NodeAffinity{
								PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
									Weight: 1, Preference: corev1.NodeSelectorTerm{
										MatchExpressions: []corev1.NodeSelectorRequirement{
											{Key: "disk", Operator: corev1.NodeSelectorOpExists},
										},
									},
								}},
							},
						},
						TopologySpreadConstraints: []corev1.TopologySpreadConstraint{
							{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.ScheduleAnyway},
						},
						Priority:                      ptr.To[int32](7),
						TerminationGracePeriodSeconds: ptr.To[int64](5),
						DNSPolicy:                     corev1.DNSDefault,
						DNSConfig:                     &corev1.PodDNSConfig{Searches: []string{"example.com"}},
						EnableServiceLinks:            new(true),
					},
				},
			}},
			Retries:    2,
			MoverImage: "mover:test",
		},
		"testdata/batch.yaml": {
			Name: "trigger-backupbatch-shop-hourly", Namespace: "shop", InvokerLabel: "shop", Session: "hourly",
			Invoker: metav1.OwnerReference{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupBatchKind, Name: "shop", UID: "2",
				Controller: new(true), BlockOwnerDeletion: new(true),
			},
			Scheduler: v1alpha1.SchedulerSpec{
				Schedule: "17 * * * *", TimeZone: new("Europe/Berlin"), StartingDeadlineSeconds: ptr.To[int64](600),
				ConcurrencyPolicy: v1alpha1.ConcurrencyForbid, SuccessfulJobsHistoryLimit: ptr.To[int32](5),
			},
			Suspended:  true,
			MoverImage: "mover:test",
		},
	}
	for golden, in := range tests {
		t.Run(golden, func(t *testing.T) {
			g := NewWithT(t)
			var err error
			in.Times, err = New(&in.Scheduler, Identity(in.Invoker.Kind, in.Namespace, in.Invoker.Name, in.Session))
			g.Expect(err).NotTo(HaveOccurred())
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
