package movers

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// FindRoom looks again at Jobs whose pod found no node in time although it must share one with the other readers of a
// volume, also with those of other runs. Such a Job goes on waiting, or can run elsewhere: see observe.Room. It reads
// nothing if there is no such Job.
func FindRoom(
	ctx context.Context, c client.Reader, namespace string, jobs map[string]run.Job, now time.Time,
) error {
	needed := false
	for _, job := range jobs {
		needed = needed || noNode(job)
	}
	if !needed {
		return nil
	}
	in, readers := client.InNamespace(namespace), client.HasLabels{v1alpha1.LabelReads}
	var all batchv1.JobList
	if err := c.List(ctx, &all, in, readers); err != nil {
		return fmt.Errorf("list Jobs that read a volume of one node: %w", err)
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, in, readers); err != nil {
		return fmt.Errorf("list Pods that read a volume of one node: %w", err)
	}
	for i := range all.Items {
		own := &all.Items[i]
		job, ok := jobs[own.Name]
		if !ok || !noNode(job) {
			continue
		}
		var taker string
		if taker, job.Elsewhere = observe.Room(own, all.Items, pods.Items, now); taker != "" {
			job.State, job.Recheck, job.Queues = observe.StateWaiting, run.PollInterval, true
			job.Message = fmt.Sprintf("Job %s waits for Job %s: both read a volume that only the pods of one node can "+
				"mount, and that node has no room for both", own.Name, taker)
			logf.FromContext(ctx).V(1).Info("waits for the room of another Job, with which a Job must share a node",
				"job", klog.KObj(own), "other", taker)
		}
		jobs[own.Name] = job
	}
	return nil
}

// noNode reports whether the pod of a Job found no node in time.
func noNode(job run.Job) bool {
	return job.State == observe.StateFailed && job.Reason == v1alpha1.ReasonUnschedulable && !job.Finished
}
