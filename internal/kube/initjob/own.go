package initjob

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ownJobs remembers which Jobs this manager runs, and where. A pod can outlive its Job for a while, and then nothing in
// the cluster tells it from one that only says so. The zero value is ready, nil knows nothing, and it is safe for
// concurrent use.
type ownJobs struct {
	mu    sync.Mutex
	began time.Time
	jobs  map[types.UID]ownJob
}

type ownJob struct {
	place string
	seen  time.Time
}

// saw remembers a Job of a place.
func (o *ownJobs) saw(job types.UID, place string, now time.Time) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.jobs[job]; !known {
		for uid, j := range o.jobs {
			if now.Sub(j.seen) >= 2*longest { // neither it nor its pod lasts
				delete(o.jobs, uid)
			}
		}
	}
	if o.jobs == nil {
		o.jobs = map[types.UID]ownJob{}
	}
	o.jobs[job] = ownJob{place, now}
}

// place returns where a Job of this manager works.
func (o *ownJobs) place(job types.UID) (place string, known bool) {
	if o == nil {
		return "", false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	j, known := o.jobs[job]
	return j.place, known
}

// knowsAll reports whether the Jobs of the manager before this one have ended.
func (o *ownJobs) knowsAll(now time.Time) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		o.began = now
	}
	return now.Sub(o.began) >= longest
}

// own returns the memory of the Runner, or nil if it has none.
func (r Runner) own() *ownJobs {
	if r.Queue == nil {
		return nil
	}
	return &r.Queue.own
}

// genuine reports whether a pod is of an init Job that works in the place of the request. Anybody can give a pod of
// their own the labels, the task and even the owner of one. So the Job counts if this manager made it for that place.
// For a while after the start, it also counts if it belongs to a Repository, or is gone: the manager before made it.
func (r Runner) genuine(ctx context.Context, req Request, pod *corev1.Pod) (bool, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" {
		return false, nil
	}
	old := !r.own().knowsAll(r.Clock.Now())
	if place, known := r.own().place(owner.UID); known || !old {
		return known && place == req.Place, nil
	}
	var job batchv1.Job
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: owner.Name}, &job)
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("get init Job %s/%s: %w", pod.Namespace, owner.Name, err)
	case job.UID != owner.UID:
		return true, nil
	}
	of := metav1.GetControllerOf(&job)
	return of != nil && schema.FromAPIVersionAndKind(of.APIVersion, of.Kind).GroupKind() ==
		v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind).GroupKind(), nil
}
