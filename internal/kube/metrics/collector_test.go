package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func at(hour, minute int) *metav1.Time {
	return &metav1.Time{Time: time.Date(2026, 11, 20, hour, minute, 0, 0, time.UTC)}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }

// scene returns a policy whose later runs failed, a batch that is late, and a restore.
func scene() []client.Object {
	configuration := &v1alpha1.BackupConfiguration{ObjectMeta: named("files")}
	configuration.Spec.Sessions = []v1alpha1.BackupConfigurationSession{
		{SessionConfig: v1alpha1.SessionConfig{Name: "nightly", BackupTimeout: &metav1.Duration{Duration: time.Hour}}},
		{SessionConfig: v1alpha1.SessionConfig{Name: "by-hand"}},
	}
	configuration.Status.Sessions = []v1alpha1.SessionStatus{
		{
			Name: "nightly", Schedule: "0 2 * * *", ScheduledSince: at(0, 0),
			LastSuccessTime: &metav1.Time{Time: at(2, 5).AddDate(0, 0, -1)},
			NextSchedule:    &metav1.Time{Time: at(2, 0).AddDate(0, 0, 1)},
		},
		{Name: "by-hand", LastSuccessTime: at(7, 0)},
	}
	batch := &v1alpha1.BackupBatch{ObjectMeta: named("app")}
	batch.Spec.Sessions = []v1alpha1.BackupBatchSession{{SessionConfig: v1alpha1.SessionConfig{Name: "hourly"}}}
	batch.Status.Sessions = []v1alpha1.SessionStatus{{
		Name: "hourly", Schedule: "0 * * * *", ScheduledSince: at(0, 30),
		NextSchedule: at(9, 0),
	}}
	run := func(name string, phase v1alpha1.BackupSessionPhase, reason string, hour,
		minutes int,
	) *v1alpha1.BackupSession {
		b := &v1alpha1.BackupSession{ObjectMeta: named(name)}
		b.Spec.Invoker = v1alpha1.TypedLocalObjectReference{Kind: v1alpha1.BackupConfigurationKind, Name: "files"}
		b.Spec.Session = "nightly"
		b.CreationTimestamp = *at(hour, 0)
		b.Status = v1alpha1.BackupSessionStatus{
			Phase: phase, Reason: reason, StartTime: at(hour, 0),
			CompletionTime: at(hour, minutes),
		}
		b.Status.Snapshots = []v1alpha1.SnapshotStatusInfo{{
			Name: "of-" + name, Phase: v1alpha1.SnapshotSucceeded,
			Repository: "files",
			AppRef:     &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "files"},
		}}
		return b
	}
	snapshot := func(name string, phase v1alpha1.SnapshotPhase, hour int, bytes int64) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{ObjectMeta: named(name)}
		s.Spec = v1alpha1.SnapshotSpec{
			Repository: "files", Session: "nightly", BackupSession: "of-" + name,
			Version: v1alpha1.SnapshotLayoutVersion, Type: v1alpha1.FullBackup,
		}
		s.Spec.AppRef = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "files"}
		s.Status = v1alpha1.SnapshotStatus{
			Phase: phase, SnapshotTime: at(hour, 0),
			Integrity: new(phase == v1alpha1.SnapshotSucceeded), Components: map[string]v1alpha1.Component{
				"a": {SizeBytes: bytes, UploadedBytes: 1}, "b": {SizeBytes: bytes, UploadedBytes: 2},
			},
		}
		return s
	}
	restore := &v1alpha1.RestoreSession{ObjectMeta: named("back")}
	restore.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "files"}
	restore.Status = v1alpha1.RestoreSessionStatus{
		Phase:  v1alpha1.RestoreSessionSucceeded,
		Reason: v1alpha1.ReasonSucceeded, StartTime: at(6, 0), CompletionTime: at(6, 1),
	}
	restore.Spec.DataSource = &v1alpha1.RestoreDataSource{Repository: "files", Snapshot: "latest"}
	restore.Status.TotalComponents = 1
	application := &v1alpha1.RestoreBatch{ObjectMeta: named("all-of-it")}
	application.Spec.DataSource.BackupBatch = "shop"
	application.Status = v1alpha1.RestoreBatchStatus{
		Phase:  v1alpha1.RestoreSessionFailed,
		Reason: v1alpha1.ReasonTargetsFailed, StartTime: at(6, 0), CompletionTime: at(6, 5),
	}
	record := run("recorded", v1alpha1.BackupSessionFailed, v1alpha1.ReasonJobFailed, 4, 50)
	record.Annotations = map[string]string{v1alpha1.AnnotationRecord: "x"}
	configuration.Status.Phase, configuration.Spec.Target = "Ready",
		&v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "files"}
	storage := &v1alpha1.BackupStorage{ObjectMeta: named("s3")}
	storage.Spec.Storage.Provider, storage.Spec.DeletionPolicy, storage.Status.Phase = v1alpha1.ProviderS3,
		"Delete", "Ready"
	repository := func(name string) *v1alpha1.Repository {
		r := &v1alpha1.Repository{ObjectMeta: named(name)}
		r.Spec = v1alpha1.RepositorySpec{
			AppRef:     *configuration.Spec.Target,
			StorageRef: v1alpha1.ObjectReference{Name: "s3"}, Path: "shop/" + name,
		}
		r.Status.Phase = "Ready"
		return r
	}
	whole, damaged := repository("files"), repository("damaged")
	whole.Status.StoredBytes, whole.Status.Integrity, whole.Status.SnapshotCount, whole.Status.LastBackupTime = new(
		int64(150)), new(true), new(int32(2)), at(2, 0)
	whole.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: at(5, 0), Full: at(4, 0)}
	damaged.Status.StoredBytes, damaged.Status.Integrity = new(int64(50)), new(false)
	all := []client.Object{
		storage, whole, damaged, repository("new"),
		configuration, batch, restore, application, record,
		run("one", v1alpha1.BackupSessionSucceeded, v1alpha1.ReasonSucceeded, 2, 5),
		run("two", v1alpha1.BackupSessionFailed, v1alpha1.ReasonJobFailed, 3, 10),
		run("three", v1alpha1.BackupSessionFailed, v1alpha1.ReasonJobFailed, 1, 20),
		snapshot("s1", v1alpha1.SnapshotSucceeded, 2, 100), snapshot("s2", v1alpha1.SnapshotSucceeded, 1, 50),
		snapshot("s3", v1alpha1.SnapshotFailed, 3, 7),
	}
	for _, o := range all {
		o.(interface{ SetConditions([]metav1.Condition) }).SetConditions([]metav1.Condition{{
			Type:   "Ready",
			Status: metav1.ConditionUnknown,
		}})
	}
	return all
}

// scrapeOf returns what the collector of Cairn's own metrics sends.
func scrapeOf(t testing.TB, objects ...client.Object) string {
	t.Helper()
	return scraped(t, func(r client.Reader) prometheus.Collector {
		return NewCollector(r, clocktesting.NewFakePassiveClock(now))
	}, objects...)
}

func scraped(t testing.TB, collector func(client.Reader) prometheus.Collector, objects ...client.Object) string {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	registry := prometheus.NewPedanticRegistry()
	g.Expect(registry.Register(collector(reader))).To(Succeed())
	families, err := registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	var text bytes.Buffer
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&text, family)
		g.Expect(err).NotTo(HaveOccurred())
	}
	return text.String()
}

func golden(t testing.TB, file, got string) {
	t.Helper()
	g := NewWithT(t)
	if *update {
		g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(file, []byte(got), 0o644)).To(Succeed())
	}
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(string(want)), "run the tests with -update and read the changes")
}

func TestAScrapeTellsWhatTheCacheKnows(t *testing.T) {
	text := scrapeOf(t, scene()...)
	for _, m := range all() {
		NewWithT(t).Expect(text).To(ContainSubstring("\n" + m.Name + "{"))
	}
	golden(t, filepath.Join("testdata", "scrape.txt"), text)
}

// The metric says the same as STATUS.md and the condition Protected.
func TestASessionThatWasNotReconciledYetIsLate(t *testing.T) {
	for name, tt := range map[string]struct {
		schedule string
		known    []v1alpha1.SessionStatus
		late     string // in seconds: the policy is from midnight, the clock stands at 8 o'clock
	}{
		"nobody can read its schedule":  {schedule: "61 * * * *", late: "7200"},
		"its schedule never fires":      {schedule: "0 0 30 2 *", late: "7200"},
		"since the schedule is there":   {"0 0 30 2 *", []v1alpha1.SessionStatus{{ScheduledSince: at(1, 0)}}, "3600"},
		"the status lacks the schedule": {"0 1 * * *", []v1alpha1.SessionStatus{{}}, "3600"},
		"there is time":                 {schedule: "0 3 * * *", late: "0"},
	} {
		t.Run(name, func(t *testing.T) {
			policy := &v1alpha1.BackupConfiguration{ObjectMeta: named("files")}
			policy.CreationTimestamp = *at(0, 0)
			policy.Spec.Sessions = []v1alpha1.BackupConfigurationSession{
				{SessionConfig: v1alpha1.SessionConfig{
					Name: "nightly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: tt.schedule},
				}},
				{SessionConfig: v1alpha1.SessionConfig{Name: "by-hand"}},
			}
			policy.Status.Sessions = tt.known
			for i := range policy.Status.Sessions {
				policy.Status.Sessions[i].Name = "nightly"
			}
			text := scrapeOf(t, policy)
			g := NewWithT(t)
			g.Expect(text).To(ContainSubstring(`session="nightly"} ` + tt.late + "\n"))
			g.Expect(text).NotTo(ContainSubstring("by-hand"), "nobody promised a backup")
		})
	}
}

func TestWhatIsNotKnownOfARepositoryIsNotSaid(t *testing.T) {
	NewWithT(t).Expect(scrapeOf(t, scene()...)).NotTo(ContainSubstring(`repository="new"`))
}

func TestKubeStashsMetrics(t *testing.T) {
	theirs := func(r client.Reader) prometheus.Collector {
		return NewKubeStashCollector(r, clocktesting.NewFakePassiveClock(now))
	}
	text := scraped(t, theirs, scene()...)
	g := NewWithT(t)
	for _, m := range kubeStash() {
		g.Expect(text).To(ContainSubstring("\n" + m.Name + "{"))
	}
	g.Expect(text).NotTo(ContainSubstring("recorded"), "the scrape leaves out a copy from a record")
	golden(t, filepath.Join("testdata", "kubestash.txt"), text)
	g.Expect(scraped(t, theirs)).To(BeEmpty())
}

// An alert on the age of the last backup must not be silent for a year because a clock was ahead.
func TestTheLastBackupIsNoneThatIsStillToCome(t *testing.T) {
	g := NewWithT(t)
	const last = `\ncairn_repository_last_backup_timestamp_seconds{.*repository="files"} `
	ahead := func(name string, created time.Time) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(created),
		}}
		s.Spec.Repository, s.Status.Phase = "files", v1alpha1.SnapshotSucceeded
		s.Status.SnapshotTime = new(metav1.NewTime(now.AddDate(1, 0, 0)))
		return s
	}
	both := ahead("both-clocks", now.AddDate(1, 0, 0))
	g.Expect(scrapeOf(t, both)).NotTo(MatchRegexp(last))
	text := scrapeOf(t, both, ahead("the-managers-clock", at(7, 0).Time))
	g.Expect(text).To(MatchRegexp(last + regexp.QuoteMeta(fmt.Sprint(float64(at(7, 0).Unix())))))

	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "files"}}
	r.Status.LastBackupTime = both.Status.SnapshotTime
	text = scraped(t, func(r client.Reader) prometheus.Collector {
		return NewKubeStashCollector(r, clocktesting.NewFakePassiveClock(now))
	}, r)
	g.Expect(text).NotTo(ContainSubstring("last_successful_backup{"))
}

// A run of a clock that was ahead is the last one that ended only until another run ends. So is a restore.
func TestTheDurationIsThatOfTheLastRunThatEnded(t *testing.T) {
	t.Parallel()
	times := func(until time.Time, took time.Duration) (from, to *metav1.Time) {
		return new(metav1.NewTime(until.Add(-took))), new(metav1.NewTime(until))
	}
	object := func(name string, created time.Time) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(created)}
	}
	ended := func(name string, created, until time.Time, took time.Duration) []client.Object {
		s := &v1alpha1.BackupSession{ObjectMeta: object(name, created)}
		s.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
			APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: "files",
		}
		s.Spec.Session, s.Status.Phase = "nightly", v1alpha1.BackupSessionSucceeded
		s.Status.StartTime, s.Status.CompletionTime = times(until, took)
		r := &v1alpha1.RestoreSession{ObjectMeta: object(name, created)}
		r.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "files"}
		r.Status.StartTime, r.Status.CompletionTime = times(until, took)
		b := &v1alpha1.RestoreBatch{ObjectMeta: object(name, created)}
		b.Spec.DataSource.BackupBatch = "files"
		b.Status.StartTime, b.Status.CompletionTime = times(until, took)
		return []client.Object{s, r, b}
	}
	year := at(2, 0).AddDate(1, 0, 0)
	last := ended("last", at(7, 0).Time, at(7, 10).Time, 10*time.Minute)
	for what, tt := range map[string]struct {
		objects []client.Object
		want    string
	}{
		"both clocks":              {append(ended("ahead", year, year, time.Minute), last...), "600"},
		"only the manager's clock": {append(ended("ahead", at(5, 0).Time, year, time.Minute), last...), "600"},
		"it was the last one":      {append(ended("ahead", at(7, 20).Time, year, time.Minute), last...), "60"},
		"there is no other":        {ended("ahead", year, year, time.Minute), "60"},
		"several of both clocks": {slices.Concat(ended("a", year, year, time.Minute),
			ended("b", year, year.Add(time.Hour), 2*time.Minute), ended("c", year, year, time.Minute)), "120"},
	} {
		text := scrapeOf(t, tt.objects...)
		for _, name := range []string{backupDuration, restoreDuration, restoreBatchDuration} {
			NewWithT(t).Expect(text).To(MatchRegexp("\n"+name+"{.*} "+tt.want+"\n"), what)
		}
	}
}

// An alert on the age of the last success, or of the last maintenance, must not be silent for a year.
func TestNoSuccessAndNoMaintenanceIsStillToCome(t *testing.T) {
	t.Parallel()
	year := new(metav1.NewTime(now.AddDate(1, 0, 0)))
	c := &v1alpha1.BackupConfiguration{ObjectMeta: named("files")}
	c.Status.Sessions = []v1alpha1.SessionStatus{{Name: "nightly", LastSuccessTime: year, NextSchedule: year}}
	r := &v1alpha1.Repository{ObjectMeta: named("files")}
	r.Status.LastMaintenance = &v1alpha1.MaintenanceStatus{Quick: year, Full: at(7, 0)}
	text := scrapeOf(t, c, r)
	NewWithT(t).Expect(text).To(And(Not(ContainSubstring(sessionLastSuccess+"{")),
		ContainSubstring(sessionNextRun+"{"), Not(ContainSubstring(`maintenance="quick"`)),
		ContainSubstring(`maintenance="full"`)))
}

func TestNothingIsRememberedOfWhatIsGone(t *testing.T) {
	NewWithT(t).Expect(scrapeOf(t)).To(BeEmpty())
}

// This test makes the tables of the reference, but not the text around them.
func TestTheReferenceNamesEveryMetric(t *testing.T) {
	const head = "| metric | labels | what it says |\n|---|---|---|\n"
	file := filepath.Join("..", "..", "..", "docs", "reference", "metrics.md")
	text, err := os.ReadFile(file)
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	parts := strings.Split(string(text), head)
	tables := [][]metric{all(), kubeStash()}
	g.Expect(parts).To(HaveLen(len(tables)+1), "one table for Cairn's metrics, then one for KubeStash's")
	want := parts[0]
	for i, table := range tables {
		want += head
		for _, m := range table {
			want += fmt.Sprintf("| `%s` | `%s` | %s |\n", m.Name, strings.Join(m.Labels, "`, `"), m.Help)
		}
		rest := parts[i+1]
		for strings.HasPrefix(rest, "|") {
			_, rest, _ = strings.Cut(rest, "\n")
		}
		want += rest
	}
	golden(t, file, want)
}

func BenchmarkScrapeOfTenThousandConfigurations(b *testing.B) {
	configurations := make([]*v1alpha1.BackupConfiguration, 10000)
	for i := range configurations {
		configurations[i] = scene()[0].(*v1alpha1.BackupConfiguration)
		configurations[i].Name = fmt.Sprintf("c-%d", i)
	}
	out := make(chan prometheus.Metric, 100000)
	c := NewCollector(nil, clocktesting.NewFakePassiveClock(now))
	b.ReportAllocs()
	for b.Loop() {
		s := &scrape{Collector: c, out: out, now: now, slots: map[slotKey]time.Time{}}
		for _, o := range configurations {
			s.policy(v1alpha1.BackupConfigurationKind, o, policy.ConfigurationSessions(o), o.Status.Sessions)
		}
		for len(out) > 0 {
			<-out
		}
	}
}
