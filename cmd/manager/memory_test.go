package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

var (
	configurations = flag.Int("configurations", 60,
		"number of BackupConfigurations that the manager gets; its memory is measured from 200 on")
	profiles = flag.String("profiles", "", "directory for heap profiles of the manager")
)

const (
	// memoryBar is the most memory that a manager with 10,000 BackupConfigurations is allowed to use, in MiB.
	memoryBar = 512
	// measured is the number of BackupConfigurations from which on the memory is measured.
	measured = 200
	// perNamespace is how many BackupConfigurations share a namespace.
	perNamespace = 100
)

// load is the policy of many teams, each with its own namespace, on one storage.
type load struct {
	storage *v1alpha1.BackupStorage
	size    int
}

func (l load) namespace(i int) string { return fmt.Sprintf("team-%04d", i/perNamespace) }

// create creates all objects except those that the manager makes.
func (l load) create(t testing.TB) {
	t.Helper()
	g := NewWithT(t)
	all := v1alpha1.NamespacesFromAll
	l.storage.Spec = v1alpha1.BackupStorageSpec{
		Storage: v1alpha1.Storage{Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{
			Endpoint: "https://s3.example.com", Bucket: "backups", SecretName: "s3",
		}},
		UsagePolicy: testbed.Usage(&v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: &all}}),
	}
	g.Expect(
		bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: l.storage.Namespace}})).
		To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.storage.Namespace, Name: "s3"},
		StringData: map[string]string{v1alpha1.S3AccessKeyID: "id", v1alpha1.S3SecretAccessKey: "key"},
	})).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), l.storage)).To(Succeed())
	for i := 0; i < l.size; i += perNamespace {
		g.Expect(bed.Client.Create(t.Context(),
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: l.namespace(i)}})).
			To(Succeed())
	}
	each(t, l.size, func(i int) error {
		for _, o := range []client.Object{l.claim(i), l.repository(i), l.configuration(i)} {
			repository, isRepository := o.(*v1alpha1.Repository)
			status := v1alpha1.RepositoryStatus{}
			if isRepository {
				status = repository.Status
			}
			if err := bed.Client.Create(t.Context(), o); err != nil {
				return err
			}
			if isRepository {
				repository.Status = status
				if err := bed.Client.Status().Update(t.Context(), repository); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (l load) meta(i int, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: l.namespace(i), Name: fmt.Sprintf("%s-%05d", name, i)}
}

func (l load) claim(i int) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: l.meta(i, "data"),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
}

func (l load) directory(i int) string { return fmt.Sprintf("/%s/data-%05d", l.namespace(i), i) }

// repository returns a Repository whose status says that it was initialised before.
func (l load) repository(i int) *v1alpha1.Repository {
	return &v1alpha1.Repository{
		ObjectMeta: l.meta(i, "repository"),
		Spec: v1alpha1.RepositorySpec{
			AppRef: v1alpha1.TypedObjectReference{
				Kind: v1alpha1.KindPersistentVolumeClaim, Namespace: l.namespace(i),
				Name: l.claim(i).Name,
			},
			StorageRef:       v1alpha1.ObjectReference{Namespace: l.storage.Namespace, Name: l.storage.Name},
			Path:             policy.NormalizeDirectory(l.directory(i)),
			EncryptionSecret: v1alpha1.ObjectReference{Namespace: l.namespace(i), Name: "encryption"},
			Driver:           v1alpha1.DriverKopia,
		},
		Status: v1alpha1.RepositoryStatus{InitializedSpec: policy.Digest([]string{
			policy.Place(l.storage.Namespace, l.storage.Spec.Storage), policy.NormalizeDirectory(l.directory(i)),
		})},
	}
}

func (l load) configuration(i int) *v1alpha1.BackupConfiguration {
	return &v1alpha1.BackupConfiguration{
		ObjectMeta: l.meta(i, "data"),
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: l.claim(i).Name},
			Backends: []v1alpha1.BackendReference{
				{
					Name:       "main",
					StorageRef: &v1alpha1.ObjectReference{Namespace: l.storage.Namespace, Name: l.storage.Name},
				},
			},
			Sessions: []v1alpha1.BackupConfigurationSession{{
				SessionConfig: v1alpha1.SessionConfig{
					Name: "nightly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: fmt.Sprintf("%d 2 * * *", i%60)},
				},
				Addon: &v1alpha1.AddonInfo{
					Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
				},
				Repositories: []v1alpha1.RepositoryInfo{{
					Name: l.repository(i).Name, Backend: "main", Directory: l.directory(i),
					EncryptionSecret: &v1alpha1.ObjectReference{Name: "encryption"},
				}},
			}},
		},
	}
}

// history creates an ended and recorded run of each configuration, with its Snapshot.
func (l load) history(t testing.TB) {
	t.Helper()
	at := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	each(t, l.size, func(i int) error {
		if i == 0 {
			return nil // it is gone
		}
		c := l.configuration(i)
		var r v1alpha1.Repository
		if err := bed.Client.Get(t.Context(), client.ObjectKeyFromObject(l.repository(i)), &r); err != nil {
			return err
		}
		if err := bed.Client.Get(t.Context(), client.ObjectKeyFromObject(c), c); err != nil {
			return err
		}
		snapshot := &v1alpha1.Snapshot{
			ObjectMeta: l.meta(i, "snapshot"),
			Spec: v1alpha1.SnapshotSpec{
				SnapshotID: "01JDABCDEFGHJKMNPQRSTVWXYZ", Repository: r.Name, Session: "nightly",
				BackupSession: l.meta(i, "run").Name, Version: v1alpha1.SnapshotLayoutVersion, AppRef: r.Spec.AppRef,
			},
		}
		snapshot.OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(&r, v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind)),
		}
		session := &v1alpha1.BackupSession{
			ObjectMeta: l.meta(i, "run"),
			Spec: v1alpha1.BackupSessionSpec{
				Invoker: v1alpha1.TypedLocalObjectReference{
					APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
					Name: c.Name,
				}, Session: "nightly", ScheduledTime: &at,
			},
		}
		session.OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(c, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupConfigurationKind)),
		}
		ready := metav1.Condition{
			Type: "Ready", Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSucceeded,
			Message: "all targets are backed up", LastTransitionTime: at, ObservedGeneration: 1,
		}
		for _, o := range []client.Object{snapshot, session} {
			if err := bed.Client.Create(t.Context(), o); err != nil {
				return err
			}
		}
		snapshot.Status = v1alpha1.SnapshotStatus{
			ObservedGeneration: 1, Conditions: []metav1.Condition{ready}, Phase: v1alpha1.SnapshotSucceeded,
			SnapshotTime: &at,
			Size:         "12.222 MiB", TotalComponents: 1,
			Components: map[string]v1alpha1.Component{"pvc": {
				Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverKopia,
				ID:   "k0123456789abcdef0123456789abcdef",
				Size: "12.222 MiB", SizeBytes: 12816155,
				Uploaded: "1.500 MiB", UploadedBytes: 1572864, ComponentCounts: v1alpha1.ComponentCounts{Files: 4711},
				StartTime: &at, CompletionTime: &at, Duration: "1.234s",
			}},
		}
		session.Status = v1alpha1.BackupSessionStatus{
			ObservedGeneration: 1, Conditions: []metav1.Condition{ready}, Phase: v1alpha1.BackupSessionSucceeded,
			Reason:    v1alpha1.ReasonSucceeded,
			StartTime: &at, CompletionTime: &at, Duration: "41s", TotalSnapshots: new(int32(1)),
			Snapshots: []v1alpha1.SnapshotStatusInfo{
				{Name: snapshot.Name, Phase: v1alpha1.SnapshotSucceeded, AppRef: &r.Spec.AppRef, Repository: r.Name},
			},
			Targets: []v1alpha1.BackupTargetStatus{
				{
					Name: c.Name, AppRef: r.Spec.AppRef, Configuration: c.Name, Phase: v1alpha1.BackupSessionSucceeded,
					Reason: v1alpha1.ReasonSucceeded, Size: "12.222 MiB", Uploaded: "1.500 MiB",
				},
			},
			Resolved: &v1alpha1.ResolvedBackup{
				Policy: v1alpha1.ResolvedPolicy{
					Source:   "PolicySync/" + c.Namespace + "/shop",
					Revision: "main@sha1:4be2a1f0c3d4e5f60718293a4b5c6d7e8f901234", Generation: 1,
					Digest: policy.Digest(c.Spec),
				},
				Targets: []v1alpha1.ResolvedTarget{{
					Name: c.Name, AppRef: r.Spec.AppRef, Configuration: c.Name, ConfigurationUID: c.UID,
					Task: v1alpha1.ResolvedTask{
						Addon: "pvc-addon", Task: "logical-backup", Function: "pvc-backup",
						Driver: v1alpha1.DriverKopia, Image: "registry.example.com/cairn/mover:v0.1.0",
						Args: []string{"backup", "--exclude="},
					},
					Hosts: []v1alpha1.ResolvedHost{{
						Name: "target", Node: "node-a",
						SecurityContext: v1alpha1.MoverSecurityContext{
							RunAsUser: new(int64(65532)), RunAsGroup: new(int64(65532)),
						},
						Volumes: []v1alpha1.ResolvedVolume{{Component: "pvc", ClaimName: l.claim(i).Name}},
					}},
					Repositories: []v1alpha1.ResolvedRepository{
						{
							Name: r.Name, UID: r.UID, StorageRef: r.Spec.StorageRef, Directory: r.Spec.Path,
							EncryptionSecret: r.Spec.EncryptionSecret, Snapshot: snapshot.Name,
						},
					},
				}},
			},
		}
		for _, o := range []client.Object{snapshot, session} {
			if err := bed.Client.Status().Update(t.Context(), o); err != nil {
				return err
			}
		}
		return nil
	})
}

// each calls something size times, several calls at once.
func each(t testing.TB, size int, do func(i int) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for i := range size {
		g.Go(func() error { return do(i) })
	}
	NewWithT(t).Expect(g.Wait()).To(Succeed())
}

// allReady waits until the manager has accepted every BackupConfiguration and made its CronJob.
func (l load) allReady(t testing.TB) {
	t.Helper()
	NewWithT(t).Eventually(func() (int, error) {
		var list v1alpha1.BackupConfigurationList
		if err := bed.Client.List(t.Context(), &list); err != nil {
			return 0, err
		}
		ready := 0
		for i := range list.Items {
			if list.Items[i].Status.Phase == v1alpha1.PhaseReady &&
				list.Items[i].Status.Sessions[0].NextSchedule != nil {
				ready++
			}
		}
		return ready, nil
	}, time.Minute+time.Duration(l.size)*200*time.Millisecond, time.Duration(l.size)*time.Millisecond).
		Should(Equal(l.size), "all BackupConfigurations become ready")
}

var figure = regexp.MustCompile(`(?m)^(VmRSS|VmHWM):\s+([0-9]+) kB$`)

// memory returns how much memory the manager uses now, and its peak, in MiB.
func (p *process) memory(t testing.TB) (now, peak int) {
	t.Helper()
	g := NewWithT(t)
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.command.Process.Pid), "status"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, m := range figure.FindAllStringSubmatch(string(status), -1) {
		n, err := strconv.Atoi(m[2])
		g.Expect(err).NotTo(HaveOccurred())
		if m[1] == "VmRSS" {
			now = n >> 10
		} else {
			peak = n >> 10
		}
	}
	return now, peak
}

// report logs the manager's memory and keeps its heap profile.
func (p *process) report(t testing.TB, when string) {
	t.Helper()
	g := NewWithT(t)
	profile, err := p.get(t.Context(), p.metrics, "/debug/pprof/heap?gc=1")
	g.Expect(err).NotTo(HaveOccurred())
	if *profiles != "" {
		g.Expect(os.WriteFile(filepath.Join(*profiles, when+".heap"), []byte(profile), 0o600)).To(Succeed())
	}
	metrics, err := p.get(t.Context(), p.metrics, "/metrics")
	g.Expect(err).NotTo(HaveOccurred())
	heap := regexp.MustCompile(`(?m)^go_memstats_heap_alloc_bytes (.*)$`).FindStringSubmatch(metrics)
	g.Expect(heap).NotTo(BeNil())
	bytes, err := strconv.ParseFloat(heap[1], 64)
	g.Expect(err).NotTo(HaveOccurred())
	now, peak := p.memory(t)
	t.Logf("%s: %d MiB resident, %d at most, %.0f MiB live heap (bar: %d)", when, now, peak, bytes/(1<<20), memoryBar)
}

// initialises plays the mover of the storage's init Job.
func (l load) initialises(t testing.TB) {
	t.Helper()
	job := kubelet.Job(t, bed.Client, l.storage.Namespace, v1alpha1.LabelStorage)
	kubelet.Finish(t, jobController(t), job,
		kubelet.Report(task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded}), time.Now())
}

// BenchmarkMemory1000 reports the peak memory of a manager with 1,000 BackupConfigurations.
func BenchmarkMemory1000(b *testing.B) {
	install(b)
	for b.Loop() {
		b.ReportMetric(float64(manyConfigurations(b, 1_000))*(1<<20), "peak-B")
	}
}

// manyConfigurations brings a manager with its own rights to the point where nothing is left to do, and starts it
// again with a run of each configuration. It returns the peak memory of both, in MiB. With few configurations it
// skips the second start, whose value is then 0.
func manyConfigurations(t testing.TB, size int) int {
	t.Helper()
	g := NewWithT(t)
	l := load{
		storage: &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: "backup", Name: "s3"}}, size: size,
	}
	l.create(t)
	account := kubeconfig(t, false)
	args := []string{
		"--enable-leader-election", "--log-level", "error", "--kube-api-qps", "2000", "--kube-api-burst",
		"4000",
	}
	p := begin(t, account, args...)
	p.reader = readsAll(t)
	l.initialises(t)
	began := time.Now()
	l.allReady(t)
	t.Logf("%d BackupConfigurations ready after %s", l.size, time.Since(began).Round(time.Second))

	for _, kind := range []string{v1alpha1.BackupConfigurationKind, v1alpha1.RepositoryKind} {
		ready := `gotk_reconcile_condition{kind="` + kind + `",name=`
		g.Eventually(func() (int, error) {
			metrics, err := p.get(t.Context(), p.metrics, "/metrics")
			return strings.Count(metrics, ready), err
		}, testbed.Patience, "1s").Should(Equal(l.size), "one series for each %s", kind)
	}
	gone := l.configuration(0)
	g.Expect(bed.Client.Delete(t.Context(), gone)).To(Succeed())
	g.Eventually(func() (string, error) { return p.get(t.Context(), p.metrics, "/metrics") }, testbed.Patience, "1s").
		ShouldNot(ContainSubstring(`kind="BackupConfiguration",name="`+gone.Name+`"`), "what is gone has no series")
	if l.size < measured {
		return 0
	}

	p.report(t, "configurations")
	_, peak := p.memory(t)
	g.Expect(p.end(t)).To(Equal(0))
	l.history(t) // while nobody takes the runs for new ones
	p = begin(t, account, args...)
	p.reader = readsAll(t)
	l.counted(t)
	p.report(t, "started again with a run of each")
	_, again := p.memory(t)
	g.Expect(max(peak, again)).To(BeNumerically("<=", memoryBar), "MiB")
	return max(peak, again)
}

// counted waits until every Repository has counted its Snapshot.
func (l load) counted(t testing.TB) {
	t.Helper()
	NewWithT(t).Eventually(func() (int, error) {
		var list v1alpha1.RepositoryList
		if err := bed.Client.List(t.Context(), &list); err != nil {
			return 0, err
		}
		n := 0
		for i := range list.Items {
			if c := list.Items[i].Status.SnapshotCount; c != nil && *c == 1 {
				n++
			}
		}
		return n, nil
	}, "20m", time.Duration(l.size)*time.Millisecond).Should(Equal(l.size-1), "all Repositories count their Snapshots")
}
