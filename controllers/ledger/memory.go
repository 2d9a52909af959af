package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/room"
)

// memory is what this process remembers of a Ledger. All of it is allowed to get lost.
type memory struct {
	uid   types.UID
	store *gitstore.Store
	from  string // digest of the options that the store was opened with
	// remembered is the last commit that the store pushed. It is ahead of the status after a crash between the two.
	remembered gitstore.Hash

	looked  time.Time          // when this process has looked for earlier records that the branch lacks
	refused map[types.UID]bool // objects of such records that the next look tries last

	failures  int
	notBefore time.Time // of the next attempt after a failure
	checked   time.Time // when the branch was last up to date
	unsettled bool      // an earlier attempt can have pushed without writing the status

	unreadable []quarantined           // ConfigMaps of the outbox that do not hold what Cairn wrote
	entered    map[types.UID]bool      // objects that have their commit, while others of the push do not
	refusing   map[types.UID]time.Time // since when the API server has a fault for an object
	going      time.Time               // when the deletion of the namespace was seen first

	room      int       // bytes of records that a push adds at most, until roomUntil; 0 means no limit
	roomUntil time.Time // of the server's limit, which somebody can have raised
	shrunk    bool      // room got smaller by the last push, which was too large
	more      bool      // the last push left records to the next one for want of room
}

// roomFor is how long pushes stay small after one was too large for the server.
const roomFor = 24 * time.Hour

// shrink halves what the next pushes add if this push was too large. A push of a single record can't be smaller.
func (s *memory) shrink(err error, added []ledger.Record, now time.Time) {
	s.shrunk = errors.Is(err, gitstore.ErrPushTooLarge) && len(added) > 1
	if !s.shrunk {
		return
	}
	bytes := 0
	for _, r := range added {
		bytes += len(r.Content)
	}
	s.room, s.roomUntil = max(bytes/2, 1), now.Add(roomFor)
}

// roomAt returns how many bytes of records a push adds at most; 0 means no limit.
func (s *memory) roomAt(now time.Time) int {
	if now.Before(s.roomUntil) {
		return s.room
	}
	return 0
}

// memories holds one memory for each Ledger. One goroutine at a time reconciles a Ledger.
type memories struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*memory
	// outdated holds since when policy has changed that the page of a Ledger shows.
	outdated map[types.NamespacedName]time.Time
}

// changed notes that policy has changed which the page of a Ledger shows. It keeps the time of the first change.
func (m *memories) changed(key types.NamespacedName, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.outdated[key]; known {
		return
	}
	if m.outdated == nil {
		m.outdated = map[types.NamespacedName]time.Time{}
	}
	m.outdated[key] = now
}

// outdatedSince returns the time of the first change that the page does not show; zero if there is none.
func (m *memories) outdatedSince(key types.NamespacedName) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outdated[key]
}

// rendered notes that the page is about to be rendered. Later changes count again.
func (m *memories) rendered(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.outdated, key)
}

func (m *memories) of(l *v1alpha1.Ledger) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := types.NamespacedName{Namespace: l.Namespace, Name: l.Name}
	s := m.all[key]
	if s == nil || s.uid != l.UID {
		s.close()
		if m.all == nil {
			m.all = map[types.NamespacedName]*memory{}
		}
		s = &memory{uid: l.UID, unsettled: true}
		m.all[key] = s
	}
	return s
}

func (m *memories) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[key].close()
	delete(m.all, key)
	delete(m.outdated, key)
}

func (s *memory) close() {
	if s != nil && s.store != nil {
		_ = s.store.Close()
		s.store = nil
	}
}

// open returns the store of the Ledger's branch, with the current credentials of the Secret.
func (r *Reconciler) open(ctx context.Context, l *v1alpha1.Ledger, s *memory) (*gitstore.Store, error) {
	data, err := r.credentials(ctx, l)
	if err != nil {
		return nil, err
	}
	u, err := gitstore.ParseURL(l.Spec.URL)
	if err != nil {
		return nil, err
	}
	auth, err := gitstore.AuthFromSecretData(u, data)
	if err != nil {
		return nil, &fault{reason: v1alpha1.ReasonInvalidSecret, message: err.Error(), err: err}
	}
	auth.Network = r.Egress
	signer, key, err := r.signer(ctx, l)
	if err != nil {
		return nil, err
	}
	folder := ledger.Folder(l.Spec.Path, l.Spec.ClusterName)
	from := policy.Digest([]any{l.Spec.URL, l.Spec.Branch, folder, data, key})
	if s.store != nil && s.from == from {
		return s.store, nil
	}
	s.close()
	o := gitstore.Options{
		Dir: r.dir(l), URL: l.Spec.URL, Branch: l.Spec.Branch, Auth: auth,
		AppendOnly: []string{folder + "/" + ledger.RecordsDir}, Signer: signer,
		Limits:  gitstore.Limits{Attempts: maxAttempts},
		Reserve: room.Take,
	}
	if err := s.openAt(o, lastPushed(l)); err != nil {
		return nil, fmt.Errorf("open local store: %w", err)
	}
	s.from, s.room = from, 0
	return s.store, nil
}

// openAt opens the store at the last commit that the status knows, and remembers the last commit that the directory
// knows.
func (s *memory) openAt(o gitstore.Options, known gitstore.Hash) error {
	store, err := gitstore.Open(o)
	if errors.Is(err, gitstore.ErrForeign) { // the directory holds the previous branch of the Ledger
		if err := os.RemoveAll(o.Dir); err != nil {
			return err
		}
		store, err = gitstore.Open(o)
	}
	if err != nil {
		return err
	}
	s.remembered = store.LastPushed()
	if !known.IsZero() && s.remembered != known {
		if err := store.Close(); err != nil {
			return err
		}
		o.LastPushed = known
		if store, err = gitstore.Open(o); err != nil {
			return err
		}
	}
	s.store = store
	return nil
}

// lastPushed returns the commit that the status knows, if it is in the current branch of the Ledger.
func lastPushed(l *v1alpha1.Ledger) gitstore.Hash {
	if l.Status.LastPushedTo != ledger.PushedTo(l) {
		return gitstore.Hash{}
	}
	return gitstore.NewHash(l.Status.LastPushedCommit)
}

func (r *Reconciler) dir(l *v1alpha1.Ledger) string { return filepath.Join(r.DataDir, string(l.UID)) }

func (r *Reconciler) credentials(ctx context.Context, l *v1alpha1.Ledger) (map[string][]byte, error) {
	if l.Spec.SecretRef == nil {
		return nil, nil
	}
	return r.secret(ctx, l, l.Spec.SecretRef.Name, "the credentials", "spec.secretRef")
}

// signer returns what signs the commits of the Ledger, and the data of its Secret; nil if they have no signature. A key
// that is of no use stalls the Ledger: a commit without a signature would look like one of somebody else.
func (r *Reconciler) signer(ctx context.Context, l *v1alpha1.Ledger) (gitstore.Signer, map[string][]byte, error) {
	if l.Spec.Signing == nil {
		return nil, nil, nil
	}
	name := l.Spec.Signing.SecretRef.Name
	data, err := r.secret(ctx, l, name, "the key for signatures", "spec.signing.secretRef")
	if err != nil {
		return nil, nil, err
	}
	signer, err := gitstore.SignerFromSecretData(data, r.Clock.Now())
	if err != nil {
		return nil, nil, stalled(v1alpha1.ReasonInvalidSigningKey, fmt.Sprintf(
			"records wait in the cluster, because no commit is made without a signature: Secret %s: %v", name, err))
	}
	return signer, data, nil
}

// secret returns the data of a Secret in the namespace of the Ledger, which a field names.
func (r *Reconciler) secret(
	ctx context.Context, l *v1alpha1.Ledger, name, what, field string,
) (map[string][]byte, error) {
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: l.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, &fault{
			reason:  v1alpha1.ReasonSecretNotFound,
			message: fmt.Sprintf("create the Secret %s with %s, or correct %s", name, what, field),
		}
	}
	if err != nil {
		return nil, fmt.Errorf("get Secret %s: %w", name, err)
	}
	err = access.MayUseSecret(ctx, r.Client, &secret, l)
	if reason, message, ok := access.ReasonOf(err); ok {
		return nil, &fault{reason: reason, message: message}
	}
	if err != nil {
		return nil, err
	}
	return secret.Data, nil
}

// elsewhere reports whether the last push of the Ledger went to another branch or repository.
func elsewhere(l *v1alpha1.Ledger) bool {
	return l.Status.LastPushedTo != "" && l.Status.LastPushedTo != ledger.PushedTo(l)
}

// pushInterval is the minimum time between two pushes to one repository, whatever the number of Ledgers: forges accept
// at most about six pushes a minute.
const pushInterval = 10 * time.Second

// limiter grants the right to push to a repository. It is safe for concurrent use.
type limiter struct {
	mu   sync.Mutex
	next map[string]time.Time
}

// reserve grants a push to where, or returns how long to wait. after is the time of the last push that is known from an
// earlier process.
func (l *limiter) reserve(where string, now, after time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.next[where]
	if t := after.Add(pushInterval); !after.IsZero() && t.After(next) && !after.After(now) {
		next = t
	}
	if wait = next.Sub(now); wait > 0 {
		return wait
	}
	if l.next == nil {
		l.next = map[string]time.Time{}
	}
	l.next[where] = now.Add(pushInterval)
	return 0
}

// spent corrects a reservation: the next push waits as long as this many pushes take from now on.
func (l *limiter) spent(where string, now time.Time, pushes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[where] = now.Add(time.Duration(pushes) * pushInterval)
}

// turns limits how many pushes run at a time for one reason. It is safe for concurrent use.
type turns struct {
	mu    sync.Mutex
	taken map[string]int
}

// take takes one of the turns of a key, of which there are as many as most. done gives it back.
func (t *turns) take(most int, key string) (done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken[key] >= most {
		return nil, false
	}
	if t.taken == nil {
		t.taken = map[string]int{}
	}
	t.taken[key]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.taken[key]--; t.taken[key] == 0 {
			delete(t.taken, key)
		}
	}, true
}

// turnRetry is the delay after which a Ledger tries again to get a turn.
const turnRetry = 2 * time.Second

// turn lets a Ledger push now, unless those of its namespace already hold half of the workers: a server that answers
// slowly must not hold up the Ledgers of others. The Ledgers whose last push failed leave one worker to the others. One
// that is being deleted waits for nobody: in the end it gives its records up.
func (r *Reconciler) turn(l *v1alpha1.Ledger, s *memory) (done func(), ok bool) {
	if r.Workers == 0 || !l.DeletionTimestamp.IsZero() {
		return func() {}, true
	}
	done, ok = r.turns.take(max(1, r.Workers/2), "of "+l.Namespace)
	if !ok || s.failures == 0 {
		return done, ok
	}
	failed, ok := r.turns.take(max(1, r.Workers-1), "failed")
	if !ok {
		done()
		return nil, false
	}
	return func() { failed(); done() }, true
}
