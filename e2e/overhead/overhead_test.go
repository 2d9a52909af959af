package overhead

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

// rounds is how many slots of each way are measured; the median counts.
const rounds = 5

// way of triggering a run.
type way struct {
	name string
	// minute of every three in which its slots are, so that no two ways run at the same time.
	minute int
	runs   func(context.Context, client.Client) (map[string]bool, error)
}

// ways that are compared. They take turns.
var ways = []way{
	{"k8up", 0, k8upRuns},
	{"cronjob", 1, cairnRuns("cronjob")},
	{"controller", 2, cairnRuns("controller")},
}

// schedule of a way.
func (w way) schedule() string { return fmt.Sprintf("%d-59/3 * * * *", w.minute) }

// BenchmarkSlotToSucceeded runs each way in its slots, after a first run that makes the repositories, and reports the
// median time from slot to success. One iteration is all of it.
func BenchmarkSlotToSucceeded(b *testing.B) {
	if os.Getenv("CAIRN_E2E") == "" {
		b.Skip("needs a cluster: \"make bench\" brings one")
	}
	ctx := b.Context()
	bed := prepare(ctx, b)
	for b.Loop() {
		times := map[string][]time.Duration{}
		for range rounds + 1 {
			for _, w := range ways {
				took, err := nextRun(ctx, bed.Client, w)
				must(b, err)
				times[w.name] = append(times[w.name], took)
			}
		}
		for name, all := range times {
			all = slices.Sorted(slices.Values(all[1:]))
			b.ReportMetric(all[len(all)/2].Seconds(), name+"-s")
		}
	}
}

// nextRun waits for the next slot and for the success of the run that it starts.
func nextRun(ctx context.Context, c client.Client, w way) (time.Duration, error) {
	before, err := w.runs(ctx, c)
	if err != nil {
		return 0, err
	}
	slot := nextSlot(time.Now(), w.minute)
	if err := sleepUntil(ctx, slot); err != nil {
		return 0, err
	}
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := w.runs(ctx, c)
		if err != nil {
			return 0, err
		}
		for name, done := range now {
			if _, old := before[name]; !old && done {
				return time.Since(slot), nil
			}
		}
		if time.Since(slot) > 2*time.Minute {
			return 0, fmt.Errorf("%s: no run of the slot %s succeeded within 2 minutes", w.name,
				slot.Format(time.TimeOnly))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

// nextSlot is the next whole minute that is minute modulo three. One that is less than five seconds away is left out:
// who waits for it may not have seen the schedule yet.
func nextSlot(now time.Time, minute int) time.Time {
	slot := now.Add(5 * time.Second).Truncate(time.Minute).Add(time.Minute)
	for slot.Minute()%3 != minute {
		slot = slot.Add(time.Minute)
	}
	return slot
}

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// namespaceOf has a volume of 1 MiB and the keys of the S3 server. %[1]s is its name, %[2]s and %[3]s the keys.
const namespaceOf = `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: Secret
metadata: {name: s3, namespace: %[1]s}
stringData: {AWS_ACCESS_KEY_ID: %[2]s, AWS_SECRET_ACCESS_KEY: %[3]s}
---
apiVersion: v1
kind: Secret
metadata: {name: encryption, namespace: %[1]s}
stringData: {password: a password for this measurement}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: uploads, namespace: %[1]s}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 16Mi}}
`

// prepare installs both systems with a volume of 1 MiB each, on buckets of one S3 server.
func prepare(ctx context.Context, b testing.TB) *testbed.Testbed {
	b.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(b, err)
	provider, err := testbed.Choose(ctx, root, os.Stderr)
	must(b, err)
	bed, err := testbed.Connect(ctx, provider, root, os.Stderr)
	must(b, err)
	must(b, bed.Deploy(ctx))
	started := fmt.Sprint(time.Now().Unix())
	for _, system := range []string{"cairn", "k8up"} {
		must(b, bed.EnsureBucket(ctx, "overhead-"+system+"-"+started))
		namespace := "overhead-" + system
		must(b, bed.Apply(ctx, fmt.Appendf(nil, namespaceOf, namespace, bed.S3.AccessKey, bed.S3.SecretKey)))
		pod := testbed.VolumePod{Namespace: namespace, Name: "filler", Claim: "uploads", User: 65532}
		must(b, bed.WithVolumePod(ctx, pod, func(ctx context.Context) error {
			return bed.Fill(ctx, namespace, pod.Name, oneMebibyte(b), "/data")
		}))
	}
	installK8up(ctx, b, bed, root)
	must(b, bed.Apply(ctx, fmt.Appendf(nil, k8upSchedule, bed.S3.URL, "overhead-k8up-"+started, ways[0].schedule())))
	must(b, bed.Apply(ctx,
		fmt.Appendf(nil, cairnPolicy, bed.S3.URL, "overhead-cairn-"+started, ways[1].schedule(), ways[2].schedule())))
	return bed
}

// oneMebibyte is a directory with a file of that size that can't be compressed.
func oneMebibyte(b testing.TB) string {
	b.Helper()
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content) // never fails
	dir := b.TempDir()
	must(b, os.WriteFile(filepath.Join(dir, "data"), content, 0o644))
	return dir
}

func must(b testing.TB, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
