package metrics

import (
	"context"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// scrapeTimeout bounds the wait for a cache that is not filled yet.
const scrapeTimeout = 2 * time.Second

// Collector collects the metrics of Cairn from a cache. It is safe for concurrent use.
type Collector struct {
	reader client.Reader
	clock  clock.PassiveClock
	descs  map[string]*prometheus.Desc
}

// NewCollector returns a Collector that reads with reader, which is the cache.
func NewCollector(reader client.Reader, clock clock.PassiveClock) *Collector {
	return &Collector{reader: reader, clock: clock, descs: descriptions(all())}
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect sends the series. A kind that cannot be read has none.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s := &scrape{
		Collector: c, out: out, now: c.clock.Now(), slots: map[slotKey]time.Time{},
		successes: map[sessionKey]backup.Success{},
	}
	runs := s.runs(ctx)
	s.policies(ctx)
	s.backups(runs)
	s.snapshots(ctx)
	s.repositories(ctx)
	s.restores(ctx)
	s.restoreBatches(ctx)
}

// scrape is one collection.
type scrape struct {
	*Collector
	out chan<- prometheus.Metric
	now time.Time
	// slots caches the slots after a time: many sessions have the same schedule and the same last slot.
	slots map[slotKey]time.Time
	// successes are the last ones of the sessions.
	successes map[sessionKey]backup.Success
}

type slotKey struct {
	line string
	from int64
}

func (s *scrape) list(ctx context.Context, list client.ObjectList) bool {
	return s.reader.List(ctx, list, client.UnsafeDisableDeepCopy) == nil
}

func (s *scrape) give(name string, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(s.descs[name], prometheus.GaugeValue, value, labels...)
}

func (s *scrape) giveTime(name string, at *metav1.Time, labels ...string) {
	if at != nil {
		s.give(name, float64(at.Unix()), labels...)
	}
}

// givePast gives no time that is still to come: an alert on its age would be silent until then.
func (s *scrape) givePast(name string, at *metav1.Time, labels ...string) {
	if at != nil && !v1alpha1.Ahead(at.Time, s.now) {
		s.giveTime(name, at, labels...)
	}
}

// policies reports the state of the policies' sessions. Children of batches have no schedule.
func (s *scrape) policies(ctx context.Context) {
	var configurations v1alpha1.BackupConfigurationList
	if s.list(ctx, &configurations) {
		for i := range configurations.Items {
			o := &configurations.Items[i]
			s.policy(v1alpha1.BackupConfigurationKind, o, policy.ConfigurationSessions(o), o.Status.Sessions)
		}
	}
	var batches v1alpha1.BackupBatchList
	if s.list(ctx, &batches) {
		for i := range batches.Items {
			o := &batches.Items[i]
			s.policy(v1alpha1.BackupBatchKind, o, policy.BatchSessions(o), o.Status.Sessions)
		}
	}
}

func (s *scrape) policy(
	kind string, o client.Object, sessions []v1alpha1.SessionConfig, statuses []v1alpha1.SessionStatus,
) {
	if v1alpha1.HasRecordAnnotation(o.GetAnnotations()) {
		return
	}
	known := map[string]v1alpha1.SessionStatus{}
	for i := range statuses {
		status := &statuses[i]
		known[status.Name] = *status
		labels := []string{o.GetNamespace(), kind, o.GetName(), status.Name}
		s.givePast(sessionLastSuccess, status.LastSuccessTime, labels...)
		s.giveTime(sessionNextRun, status.NextSchedule, labels...)
	}
	for i := range sessions {
		config := &sessions[i]
		key := sessionKey{o.GetNamespace(), kind, o.GetName(), config.Name}
		status := backup.Scheduled(known[config.Name], config,
			schedule.Identity(kind, key.namespace, key.name, key.session), o.GetCreationTimestamp().Time)
		if late, ok := s.lateness(&status, config, s.successes[key]); ok {
			s.give(sessionLate, late.Seconds(), key.namespace, kind, key.name, key.session)
		}
	}
}

// lateness returns how long a success is overdue. A session without a schedule is never late.
func (s *scrape) lateness(
	status *v1alpha1.SessionStatus, config *v1alpha1.SessionConfig, last backup.Success,
) (time.Duration, bool) {
	due, ok := backup.SuccessDue(status, config, last, s.now, s.next)
	return max(0, s.now.Sub(due)), ok
}

// next returns the first slot of a schedule after a time.
func (s *scrape) next(line string, from time.Time) (time.Time, error) {
	key := slotKey{line, from.Unix()}
	if slot, ok := s.slots[key]; ok {
		return slot, nil
	}
	slot, err := schedule.Next(line, from)
	if err == nil {
		s.slots[key] = slot
	}
	return slot, err
}

// newest holds for each key the value of the last Moment.
type newest[K comparable, V any] map[K]struct {
	at    run.Moment
	value V
}

func (n newest[K, V]) see(key K, at run.Moment, value V) {
	if n[key].at.Compare(at) < 0 {
		n[key] = struct {
			at    run.Moment
			value V
		}{at, value}
	}
}

// lastDurations holds for each key how long the last of several objects took that ended.
type lastDurations[K comparable] newest[K, time.Duration]

// see counts an object. A clock that was ahead makes it later than none that has ended since.
func (d lastDurations[K]) see(key K, o client.Object, start, end *metav1.Time, now time.Time) {
	if start != nil && end != nil {
		at := run.MomentOf(end.Time, o.GetCreationTimestamp().Time, now)
		newest[K, time.Duration](d).see(key, at, end.Sub(start.Time))
	}
}

type sessionKey struct{ namespace, kind, name, session string }

// keyOf returns the session of a run.
func keyOf(b *v1alpha1.BackupSession) sessionKey {
	return sessionKey{b.Namespace, b.Spec.Invoker.Kind, b.Spec.Invoker.Name, b.Spec.Session}
}

// runs lists the runs, and notes the last successes of their sessions.
func (s *scrape) runs(ctx context.Context) []v1alpha1.BackupSession {
	var list v1alpha1.BackupSessionList
	if !s.list(ctx, &list) {
		return nil
	}
	for b := range made(list.Items) {
		last := s.successes[keyOf(b)]
		last.See(b, s.now)
		s.successes[keyOf(b)] = last
	}
	return list.Items
}

func (s *scrape) backups(runs []v1alpha1.BackupSession) {
	type outcome struct {
		sessionKey
		phase, reason string
	}
	counts := map[outcome]int{}
	durations := lastDurations[sessionKey]{}
	for b := range made(runs) {
		key := keyOf(b)
		counts[outcome{key, string(b.Status.Phase), b.Status.Reason}]++
		durations.see(key, b, b.Status.StartTime, b.Status.CompletionTime, s.now)
	}
	for o, n := range counts {
		s.give(backupSessions, float64(n), o.namespace, o.kind, o.name, o.session, o.phase, o.reason)
	}
	for key, d := range durations {
		s.give(backupDuration, d.value.Seconds(), key.namespace, key.kind, key.name, key.session)
	}
}

type repositoryKey struct{ namespace, name string }

func (s *scrape) snapshots(ctx context.Context) {
	var list v1alpha1.SnapshotList
	if !s.list(ctx, &list) {
		return
	}
	type outcome struct {
		repositoryKey
		phase string
	}
	counts := map[outcome]int{}
	last := newest[repositoryKey, *v1alpha1.Snapshot]{}
	for snapshot := range made(list.Items) {
		key := repositoryKey{snapshot.Namespace, snapshot.Spec.Repository}
		counts[outcome{key, string(snapshot.Status.Phase)}]++
		if at := snapshot.PassedBy(s.now); at != nil && snapshot.Status.Phase == v1alpha1.SnapshotSucceeded {
			last.see(key, run.Moment{At: at.Time}, snapshot)
		}
	}
	for o, n := range counts {
		s.give(snapshots, float64(n), o.namespace, o.name, o.phase)
	}
	for key, newest := range last {
		var size, uploaded int64
		for _, component := range newest.value.Status.Components {
			size, uploaded = size+component.SizeBytes, uploaded+component.UploadedBytes
		}
		s.give(snapshotSize, float64(size), key.namespace, key.name)
		s.give(snapshotUploaded, float64(uploaded), key.namespace, key.name)
		s.give(repositoryLastBackup, float64(newest.at.At.Unix()), key.namespace, key.name)
	}
}

func (s *scrape) repositories(ctx context.Context) {
	var list v1alpha1.RepositoryList
	if !s.list(ctx, &list) {
		return
	}
	for r := range made(list.Items) {
		if n := r.Status.StoredBytes; n != nil {
			s.give(repositorySize, float64(*n), r.Namespace, r.Name)
		}
		if whole := r.Status.Integrity; whole != nil {
			s.give(repositoryIntegrity, truth(*whole), r.Namespace, r.Name)
		}
		if m := r.Status.LastMaintenance; m != nil {
			s.givePast(repositoryMaintained, m.Quick, r.Namespace, r.Name, "quick")
			s.givePast(repositoryMaintained, m.Full, r.Namespace, r.Name, "full")
		}
	}
}

// truth returns 1 or 0.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// outcome is how restores of a namespace ended, or their present phase.
type outcome struct{ namespace, phase, reason string }

func (s *scrape) restores(ctx context.Context) {
	var list v1alpha1.RestoreSessionList
	if !s.list(ctx, &list) {
		return
	}
	counts := map[outcome]int{}
	durations := lastDurations[repositoryKey]{}
	for r := range made(list.Items) {
		counts[outcome{r.Namespace, string(r.Status.Phase), r.Status.Reason}]++
		if r.Spec.Target != nil {
			durations.see(repositoryKey{r.Namespace, r.Spec.Target.String()}, r, r.Status.StartTime,
				r.Status.CompletionTime, s.now)
		}
	}
	for o, n := range counts {
		s.give(restoreSessions, float64(n), o.namespace, o.phase, o.reason)
	}
	for key, d := range durations {
		s.give(restoreDuration, d.value.Seconds(), key.namespace, key.name)
	}
}

func (s *scrape) restoreBatches(ctx context.Context) {
	var list v1alpha1.RestoreBatchList
	if !s.list(ctx, &list) {
		return
	}
	counts := map[outcome]int{}
	durations := lastDurations[repositoryKey]{}
	for b := range made(list.Items) {
		counts[outcome{b.Namespace, string(b.Status.Phase), b.Status.Reason}]++
		durations.see(repositoryKey{b.Namespace, b.Spec.DataSource.BackupBatch}, b, b.Status.StartTime,
			b.Status.CompletionTime, s.now)
	}
	for o, n := range counts {
		s.give(restoreBatches, float64(n), o.namespace, o.phase, o.reason)
	}
	for key, d := range durations {
		s.give(restoreBatchDuration, d.value.Seconds(), key.namespace, key.name)
	}
}

// made returns the objects of a list that are not copies from records.
func made[T any, O interface {
	*T
	client.Object
}](items []T) iter.Seq[O] {
	return func(yield func(O) bool) {
		for i := range items {
			if o := O(&items[i]); !v1alpha1.HasRecordAnnotation(o.GetAnnotations()) && !yield(o) {
				return
			}
		}
	}
}
