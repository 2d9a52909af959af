package backupsession

import (
	"context"
	"fmt"
	"slices"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
)

// exclusiveClaims are the claims of the target that the Job of a mover mounts, by how few can mount them.
type exclusiveClaims struct {
	// onePod are those that one pod can mount.
	onePod []string
	// oneNode are those that the pods of one node can mount.
	oneNode []string
}

// claims returns the claims of a namespace by name. Nobody changes the access modes of a claim, so they need not be
// frozen.
func (r *Reconciler) claims(ctx context.Context, namespace string) (map[string]*corev1.PersistentVolumeClaim, error) {
	var list corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	out := map[string]*corev1.PersistentVolumeClaim{}
	for i := range list.Items {
		out[list.Items[i].Name] = &list.Items[i]
	}
	return out, nil
}

// fewClaims is the largest number of claims that a look reads one by one. A namespace can have thousands.
const fewClaims = 10

// claimsByName returns a function that looks up claims of a namespace by name. A claim that does not exist is nil, and
// others can be in the map. It reads few claims one by one, and otherwise lists them, once.
func (r *Reconciler) claimsByName(
	ctx context.Context, namespace string,
) func(names []string) (map[string]*corev1.PersistentVolumeClaim, error) {
	known, listed := map[string]*corev1.PersistentVolumeClaim{}, false
	return func(names []string) (map[string]*corev1.PersistentVolumeClaim, error) {
		for _, name := range names {
			if _, asked := known[name]; asked || listed {
				continue
			}
			if len(known) >= fewClaims {
				all, err := r.claims(ctx, namespace)
				if err != nil {
					return nil, err
				}
				known, listed = all, true
				break
			}
			claim := &corev1.PersistentVolumeClaim{}
			err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, claim)
			if apierrors.IsNotFound(err) {
				claim = nil
			} else if err != nil {
				return nil, fmt.Errorf("get PersistentVolumeClaim %s: %w", name, err)
			}
			known[name] = claim
		}
		return known, nil
	}
}

// exclusive returns what the Job of a mover must not mount beside just any other Job.
func exclusive(m backup.Mover, claims map[string]*corev1.PersistentVolumeClaim) exclusiveClaims {
	var out exclusiveClaims
	for i := range m.Host.Volumes {
		v := &m.Host.Volumes[i]
		claim := claims[v.ClaimName]
		switch {
		case claim == nil || !v.Mounted() || m.Target.CopyOf(v.ClaimName) != nil:
		case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod):
			out.onePod = append(out.onePod, claim.Name)
		case !workload.IsShared(claim):
			out.oneNode = append(out.oneNode, claim.Name)
		}
	}
	return out
}

// turns serializes in each namespace who creates Jobs that mount a volume which one pod can mount. Its zero value is
// ready for use.
type turns struct {
	mu         sync.Mutex
	namespaces map[string]*namespaceTurn
}

// namespaceTurn is there as long as somebody has the turn in its namespace, or waits for it.
type namespaceTurn struct {
	sync.Mutex
	users int
}

// take waits for the turn in a namespace, and returns what ends it.
func (t *turns) take(namespace string) (end func()) {
	t.mu.Lock()
	one := t.namespaces[namespace]
	if one == nil {
		one = &namespaceTurn{}
		if t.namespaces == nil {
			t.namespaces = map[string]*namespaceTurn{}
		}
		t.namespaces[namespace] = one
	}
	one.users++
	t.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.namespaces, namespace)
		}
	}
}

// takers finds the Jobs of Cairn that have a claim of a namespace. From the first question until it is closed it has
// the turn there: nobody else creates such a Job, so one look at the Jobs is enough.
type takers struct {
	*Reconciler
	namespace string
	end       func()
	looked    bool
	jobs      []batchv1.Job
	pods      []corev1.Pod
}

func (t *takers) close() {
	if t.end != nil {
		t.end()
	}
}

// look takes the turn, and reads the Jobs and then their pods.
func (t *takers) look(ctx context.Context) error {
	if t.looked {
		return nil
	}
	if t.end == nil {
		t.end = t.taking.take(t.namespace)
	}
	in := client.InNamespace(t.namespace)
	ours := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	var jobs batchv1.JobList
	if err := t.APIReader.List(ctx, &jobs, in, ours); err != nil {
		return fmt.Errorf("list Jobs: %w", err)
	}
	var pods corev1.PodList
	if err := t.APIReader.List(ctx, &pods, in, ours); err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	t.jobs, t.pods, t.looked = jobs.Items, pods.Items, true
	return nil
}

// of returns another Job than the named one that has one of the claims, or nil: one of this run, of another run, or of
// a hook. A Job counts as long as its pod works or can still come, by the limits that its own run has for that.
func (t *takers) of(ctx context.Context, name string, claims []string) (*batchv1.Job, error) {
	if err := t.look(ctx); err != nil {
		return nil, err
	}
	for i := range t.jobs {
		other := &t.jobs[i]
		if other.Name == name || observe.Ended(other) ||
			!slices.ContainsFunc(other.Spec.Template.Spec.Volumes, func(v corev1.Volume) bool {
				return v.PersistentVolumeClaim != nil && slices.Contains(claims, v.PersistentVolumeClaim.ClaimName)
			}) {
			continue
		}
		switch observe.Observe(other, t.pods, t.Clock.Now()).State {
		case observe.StateWaiting, observe.StateRunning:
			return other, nil
		}
	}
	return nil, nil
}

// made notes a Job that was created since the look.
func (t *takers) made(job *batchv1.Job) { t.jobs = append(t.jobs, *job) }
