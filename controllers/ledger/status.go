package ledger

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/text"
)

// ownedConditions holds the conditions that the Reconciler writes.
var ownedConditions = []string{
	meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition, v1alpha1.ConditionBacklogged,
	v1alpha1.ConditionRecordsMissing, v1alpha1.ConditionConsentMissing, v1alpha1.ConditionBranchWatched,
	v1alpha1.ConditionNamespacesDropped,
}

// fault is the reason why a Ledger is not Ready. A stalled fault waits for a user.
type fault struct {
	reason  string
	message string
	stalled bool
	err     error
}

func (f *fault) Error() string { return f.message }
func (f *fault) Unwrap() error { return f.err }

func stalled(reason, message string) *fault {
	return &fault{reason: reason, message: message, stalled: true}
}

var errNameTaken = errors.New("the folder belongs to another cluster")

// unreadable returns the fault of an outbox in which others put something. The other ConfigMaps are pushed.
func unreadable(parcels []quarantined) *fault {
	return &fault{
		reason: v1alpha1.ReasonUnreadableParcel,
		message: fmt.Sprintf("ConfigMap %s of the outbox does not hold what Cairn wrote (%s): delete it; the other "+
			"records are pushed", parcels[0].name, text.Cut(parcels[0].err.Error(), maxWhy)),
	}
}

// faults maps each kind of error to its reason and its advice. The first match wins.
var faults = []struct {
	err     error
	reason  string
	stalled bool
	todo    string
}{
	{
		errNameTaken, v1alpha1.ReasonClusterNameTaken, true,
		"choose another spec.clusterName, or, if this cluster takes the place of that one, write its UID into the file",
	},
	{
		gitstore.ErrHistoryRewritten, v1alpha1.ReasonHistoryRewritten, true,
		"what was not pushed yet waits in the cluster; push the old commits to the branch from a clone that has " +
			"them, or set spec.branch to a new one: Cairn writes the records of what still exists there again",
	},
	{
		gitstore.ErrFileTooLarge, v1alpha1.ReasonGitOperationFailed, false,
		"records wait in the cluster; this is a defect of Cairn, which divides what it writes: please report it",
	},
	{gitstore.ErrURL, v1alpha1.ReasonInvalidURL, true, "correct spec.url"},
	{gitstore.ErrInvalidEdit, v1alpha1.ReasonInvalidPath, true, "correct spec.path"},
	{
		gitstore.ErrHostKey, v1alpha1.ReasonHostKeyMismatch, false,
		"compare known_hosts in the Secret with the server's key",
	},
	{gitstore.ErrAuth, v1alpha1.ReasonAuthenticationFailed, false, "check the Secret and the account's right to push"},
	{gitstore.ErrNoRepository, v1alpha1.ReasonRepositoryNotFound, false, "create the repository or correct spec.url"},
	{
		gitstore.ErrTooLarge, v1alpha1.ReasonBranchTooLarge, false,
		"records wait in the cluster; set spec.branch to one that has nothing but records, or find out who has " +
			"written to this one",
	},
	{
		gitstore.ErrPushTooLarge, v1alpha1.ReasonPushRefused, false,
		"the next push has fewer records, down to one; raise the limit of the server, or of a proxy before it",
	},
	{gitstore.ErrRefused, v1alpha1.ReasonPushRefused, false, "allow the account to push to the branch"},
	{gitstore.ErrUnreachable, v1alpha1.ReasonUnreachable, false, "records wait in the cluster"},
	{gitstore.ErrOutcomeUnknown, v1alpha1.ReasonUnreachable, false, "records wait in the cluster"},
}

// connection matches the part of a network error that differs at each attempt.
var connection = regexp.MustCompile(`\b(read|write|dial) (tcp|udp) \S+->\S+: `)

// explain turns the error of an attempt into a fault.
func explain(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	text := connection.ReplaceAllString(err.Error(), "$1 $2: ")
	for _, known := range faults {
		if errors.Is(err, known.err) {
			return &fault{reason: known.reason, message: text + ": " + known.todo, stalled: known.stalled, err: err}
		}
	}
	if apierrors.IsForbidden(err) {
		return &fault{reason: v1alpha1.ReasonForbidden, message: text, err: err}
	}
	return &fault{reason: v1alpha1.ReasonGitOperationFailed, message: text, err: err}
}

// markFault writes to the Ledger why it is not Ready.
func markFault(l *v1alpha1.Ledger, f *fault) {
	conditions.MarkFalse(l, meta.ReadyCondition, f.reason, "%s", f.message)
	if f.stalled {
		conditions.MarkStalled(l, f.reason, "%s", f.message)
		return
	}
	conditions.MarkReconciling(l, v1alpha1.ReasonProgressingWithRetry, "%s", f.message)
}

// unwrittenLook is how often a Ledger looks again at what can't be written into its outbox. Its status is written no
// more often because of that, however many runs end.
const unwrittenLook = time.Minute

// count writes the number of waiting records to status and metrics. While nobody knows yet what can't be written into
// the outbox, the number of the last process stays.
func (r *Reconciler) count(l *v1alpha1.Ledger, parcels []parcel) {
	markBacklog(l, size(parcels) >= maxParcels)
	u, known := r.unwritten(l)
	if !known {
		r.LedgerMetrics.setPending(l, int(l.Status.Pending))
		return
	}
	n := 0
	for _, p := range parcels {
		n += p.records
	}
	l.Status.OldestPendingTime = nil
	if len(parcels) > 0 {
		l.Status.OldestPendingTime = parcels[0].meta.CreationTimestamp.DeepCopy()
	}
	if u != nil {
		n += u.records
		if oldest := l.Status.OldestPendingTime; oldest == nil || u.oldest.Before(oldest.Time) {
			l.Status.OldestPendingTime = &metav1.Time{Time: u.oldest}
		}
	}
	l.Status.Pending = int32(n)
	r.LedgerMetrics.setPending(l, n)
}

// unwritten returns what the Ledger has to say about records that can't be written into its outbox, nil if there are
// none. What the last process found counts until this one knows.
func (r *Reconciler) unwritten(l *v1alpha1.Ledger) (u *unwritten, known bool) {
	if !l.DeletionTimestamp.IsZero() {
		return nil, true // it takes no more records
	}
	says := outboxNotWritten(l)
	u, known = r.Outbox.unwrittenOf(l)
	if u != nil && !says && !u.long {
		u = nil
	}
	return u, known || !says
}

// outboxNotWritten reports whether the Ledger says that records can't be written into its outbox.
func outboxNotWritten(l *v1alpha1.Ledger) bool {
	return conditions.GetReason(l, meta.ReadyCondition) == v1alpha1.ReasonOutboxNotWritten
}

// sayUnwritten makes the Ledger say that records can't be written into its outbox, if it is ready otherwise. written
// reports that it says so although they were written since.
func (r *Reconciler) sayUnwritten(l *v1alpha1.Ledger) (written bool) {
	u, known := r.unwritten(l)
	switch says := outboxNotWritten(l); {
	case u != nil && (says || conditions.IsReady(l)):
		r.markUnwritten(l, u)
	case u == nil && known:
		return says
	}
	return false
}

func (r *Reconciler) markUnwritten(l *v1alpha1.Ledger, u *unwritten) {
	markFault(l, &fault{
		reason: v1alpha1.ReasonOutboxNotWritten,
		message: status.Message(l, []status.Problem{{
			Text: "records can't be written into the outbox, and wait with what ended: ", Words: u.err.Error(),
		}}, r.Clock.Now()),
	})
}

// markPushed writes to the Ledger that the last push succeeded, and what is wrong all the same.
func (r *Reconciler) markPushed(l *v1alpha1.Ledger, s *memory) {
	u, known := r.unwritten(l)
	switch {
	case u != nil:
		r.markUnwritten(l, u)
	case !known: // it says that already
	case len(s.unreadable) > 0:
		markFault(l, unreadable(s.unreadable))
	default:
		markReady(l)
	}
}

func markReady(l *v1alpha1.Ledger) {
	conditions.Delete(l, meta.StalledCondition)
	conditions.Delete(l, meta.ReconcilingCondition)
	conditions.MarkTrue(l, meta.ReadyCondition, v1alpha1.ReasonPushed,
		"the branch %s holds every record that was pushed to it", l.Spec.Branch)
}

func markBacklog(l *v1alpha1.Ledger, full bool) {
	if full {
		conditions.MarkTrue(l, v1alpha1.ConditionBacklogged, v1alpha1.ReasonBacklogged,
			"the outbox is full: backups go on, and ended runs are kept until there is room")
		return
	}
	conditions.Delete(l, v1alpha1.ConditionBacklogged)
}

// sayMissing says that the branch lacks earlier records, and why; nothing if there are none.
func (r *Reconciler) sayMissing(l *v1alpha1.Ledger, records int, why error) {
	if records == 0 {
		conditions.Delete(l, v1alpha1.ConditionRecordsMissing)
		return
	}
	known := conditions.IsTrue(l, v1alpha1.ConditionRecordsMissing)
	conditions.MarkTrue(l, v1alpha1.ConditionRecordsMissing, v1alpha1.ReasonRecordsMissing,
		"the branch %s lacks %s of what exists, because the API server refuses to let it wait: %s", l.Spec.Branch,
		text.Quantity(int32(records), "record"), text.Cut(why.Error(), maxWhy))
	if !known {
		r.EventRecorder.Event(l, corev1.EventTypeWarning, v1alpha1.ReasonRecordsMissing,
			conditions.GetMessage(l, v1alpha1.ConditionRecordsMissing))
	}
}

// maxWhy is how many bytes of the words of the API server a condition holds.
const maxWhy = 300

// Metrics measures Ledgers. A nil *Metrics measures nothing.
type Metrics struct {
	pending  *prometheus.GaugeVec
	pushes   *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics registers cairn_ledger_pending_records, cairn_ledger_push_total and cairn_ledger_push_duration_seconds.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cairn_ledger_pending_records",
			Help: "Records that wait in the outbox of a Ledger, or to get into it.",
		}, []string{"namespace", "name"}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cairn_ledger_push_total", Help: "Attempts to bring a Ledger's branch up to date, by result.",
		}, []string{"namespace", "name", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cairn_ledger_push_duration_seconds",
			Help:    "Duration of attempts to bring a Ledger's branch up to date.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"namespace", "name"}),
	}
	registry.MustRegister(m.pending, m.pushes, m.duration)
	return m
}

func (m *Metrics) setPending(l *v1alpha1.Ledger, n int) {
	if m != nil {
		m.pending.WithLabelValues(l.Namespace, l.Name).Set(float64(n))
	}
}

// pushed counts an attempt to push. result is a word of a closed set.
func (m *Metrics) pushed(l *v1alpha1.Ledger, result string, d time.Duration) {
	if m != nil {
		m.pushes.WithLabelValues(l.Namespace, l.Name, result).Inc()
		m.duration.WithLabelValues(l.Namespace, l.Name).Observe(d.Seconds())
	}
}

func (m *Metrics) forget(namespace, name string) {
	if m != nil {
		l := prometheus.Labels{"namespace": namespace, "name": name}
		m.pending.Delete(l)
		m.pushes.DeletePartialMatch(l)
		m.duration.Delete(l)
	}
}
