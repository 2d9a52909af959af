package overhead

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

const (
	// claims is how many volumes are snapshotted at once.
	claims = 20
	// turns is how often each way is measured; the median counts. One takes more than half a minute: the snapshot
	// controller and its sidecar run with the rate limits that they have by default, five requests a second.
	turns = 3
	// rest is the pause between two measurements, so that none is slowed down by what the one
	// before has used up.
	rest = 10 * time.Second
	// snapshotPatience bounds one measurement.
	snapshotPatience = 3 * time.Minute
)

// disksPolicy backs the Deployment's volumes up as VolumeSnapshots.
const disksPolicy = `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: disks, namespace: %[1]s}
spec:
  target: {apiGroup: apps, kind: Deployment, name: disks}
  sessions:
  - name: manual
    addon: {name: workload-addon, tasks: [{name: volume-snapshot}]}
    repositories: [{name: disks}]
`

// disks is a namespace with a Deployment of one pod that has all the volumes.
type disks struct {
	bed       *testbed.Testbed
	namespace string
	runs      int
}

// BenchmarkVolumeSnapshots20 reports the median times of 20 VolumeSnapshots that are made with the API, as "kubectl
// create -f" of one file does, and of a BackupSession that makes them. Both are measured on the same volumes, in turns,
// after a first round of each. One iteration is all of it.
func BenchmarkVolumeSnapshots20(b *testing.B) {
	if os.Getenv("CAIRN_E2E") == "" {
		b.Skip("needs a cluster: \"make bench\" brings one")
	}
	ctx := b.Context()
	d := prepareDisks(ctx, b)
	for b.Loop() {
		var plain, session []time.Duration
		for range turns + 1 {
			for _, way := range []struct {
				times *[]time.Duration
				run   func(context.Context, string) (time.Duration, error)
			}{{&plain, d.plain}, {&session, d.session}} {
				must(b, sleepUntil(ctx, time.Now().Add(rest)))
				d.runs++
				took, err := way.run(ctx, fmt.Sprintf("run-%d", d.runs))
				must(b, err)
				*way.times = append(*way.times, took)
			}
		}
		b.Logf("kubectl %v, BackupSession %v", plain, session)
		b.ReportMetric(median(plain[1:]).Seconds(), "kubectl-s")
		b.ReportMetric(median(session[1:]).Seconds(), "session-s")
	}
}

func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// plain makes a VolumeSnapshot of each claim and waits until all can be used.
func (d *disks) plain(ctx context.Context, name string) (time.Duration, error) {
	var all []*snapshotv1.VolumeSnapshot
	for i := range claims {
		all = append(all, &snapshotv1.VolumeSnapshot{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: d.namespace, Name: fmt.Sprintf("%s-%s", claim(i), name),
				Labels: map[string]string{"run": name},
			},
			Spec: snapshotv1.VolumeSnapshotSpec{
				Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: new(claim(i))},
			},
		})
	}
	begin := time.Now()
	for _, s := range all {
		if err := d.bed.Client.Create(ctx, s); err != nil {
			return 0, fmt.Errorf("create a VolumeSnapshot: %w", err)
		}
	}
	return since(ctx, begin, "the VolumeSnapshots of "+name, func() (bool, error) {
		var list snapshotv1.VolumeSnapshotList
		if err := d.bed.Client.List(ctx, &list, client.InNamespace(d.namespace),
			client.MatchingLabels{"run": name}); err != nil {
			return false, err
		}
		ready := 0
		for _, s := range list.Items {
			if s.Status != nil && s.Status.Error != nil {
				return false, fmt.Errorf("VolumeSnapshot %s: %s", s.Name, ptr.Deref(s.Status.Error.Message, ""))
			}
			if s.Status != nil && ptr.Deref(s.Status.ReadyToUse, false) {
				ready++
			}
		}
		return ready == claims, nil
	})
}

// session runs a BackupSession to its end.
func (d *disks) session(ctx context.Context, name string) (time.Duration, error) {
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: name},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: "disks",
			}, Session: "manual",
		},
	}
	begin := time.Now()
	if err := d.bed.Client.Create(ctx, s); err != nil {
		return 0, fmt.Errorf("create a BackupSession: %w", err)
	}
	took, err := since(ctx, begin, "BackupSession "+name, func() (bool, error) {
		if err := d.bed.Client.Get(ctx, client.ObjectKeyFromObject(s), s); err != nil {
			return false, err
		}
		if s.Status.Phase.Terminal() && s.Status.Phase != v1alpha1.BackupSessionSucceeded {
			return false, fmt.Errorf("BackupSession %s is %s: %s", s.Name, s.Status.Phase, s.Status.Reason)
		}
		return s.Status.Phase == v1alpha1.BackupSessionSucceeded, nil
	})
	if err != nil {
		return 0, err
	}
	return took, d.complete(ctx, name)
}

// complete reports whether the run has made a VolumeSnapshot of every claim. Without that its time means nothing.
func (d *disks) complete(ctx context.Context, session string) error {
	var list v1alpha1.SnapshotList
	if err := d.bed.Client.List(ctx, &list, client.InNamespace(d.namespace),
		client.MatchingLabels{v1alpha1.LabelBackupSession: session}); err != nil {
		return err
	}
	if len(list.Items) != 1 || len(list.Items[0].Status.Components) != claims {
		return fmt.Errorf("BackupSession %s has not one Snapshot of %d components: %d Snapshots", session, claims,
			len(list.Items))
	}
	return nil
}

// since polls until done, and returns the time since begin.
func since(ctx context.Context, begin time.Time, what string, done func() (bool, error)) (time.Duration, error) {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil {
			return 0, err
		}
		if ok {
			return time.Since(begin), nil
		}
		if time.Since(begin) > snapshotPatience {
			return 0, fmt.Errorf("%s: not within %s", what, snapshotPatience)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

func claim(i int) string { return fmt.Sprintf("disk-%02d", i) }

// prepareDisks makes the volumes, in a namespace that goes with the benchmark, and the policy.
func prepareDisks(ctx context.Context, b testing.TB) *disks {
	b.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(b, err)
	provider, err := testbed.Choose(ctx, root, os.Stderr)
	must(b, err)
	bed, err := testbed.Connect(ctx, provider, root, os.Stderr)
	must(b, err)
	must(b, bed.Deploy(ctx))
	d := &disks{bed: bed, namespace: fmt.Sprintf("overhead-snapshots-%d", time.Now().Unix())}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}}
	must(b, bed.Client.Create(ctx, namespace))
	b.Cleanup(func() { must(b, bed.Client.Delete(context.WithoutCancel(ctx), namespace)) })
	must(b, bed.Apply(ctx, []byte(d.manifests())))
	must(b, bed.Apply(ctx, fmt.Appendf(nil, disksPolicy, d.namespace)))
	must(b, testbed.Poll(ctx, snapshotPatience, "the pod with the volumes", func(ctx context.Context) (bool, error) {
		var deployment appsv1.Deployment
		err := bed.Client.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: "disks"}, &deployment)
		return deployment.Status.ReadyReplicas == 1, err
	}))
	must(b, testbed.Poll(ctx, snapshotPatience, "the policy", func(ctx context.Context) (bool, error) {
		var configuration v1alpha1.BackupConfiguration
		err := bed.Client.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: "disks"}, &configuration)
		return apimeta.IsStatusConditionTrue(configuration.Status.Conditions, "Ready"), err
	}))
	return d
}

// manifests of the claims and of the Deployment that has them.
func (d *disks) manifests() string {
	var all, mounts, volumes strings.Builder
	for i := range claims {
		fmt.Fprintf(&all, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s, namespace: %s}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
---`, claim(i), d.namespace)
		fmt.Fprintf(&mounts, "\n        - {name: %[1]s, mountPath: /%[1]s}", claim(i))
		fmt.Fprintf(&volumes, "\n      - {name: %[1]s, persistentVolumeClaim: {claimName: %[1]s}}", claim(i))
	}
	fmt.Fprintf(&all, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: disks, namespace: %s}
spec:
  selector: {matchLabels: {app: disks}}
  template:
    metadata: {labels: {app: disks}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: disks
        image: cairn.local/toolbox:dev
        args: [idle]
        volumeMounts:%s
      volumes:%s
`, d.namespace, mounts.String(), volumes.String())
	return all.String()
}
