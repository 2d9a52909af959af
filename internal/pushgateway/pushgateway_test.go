package pushgateway

import (
	"bytes"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/route"
	"github.com/prometheus/pushgateway/handler"
	"github.com/prometheus/pushgateway/storage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

// gateway is the Pushgateway's own handler and store.
type gateway struct {
	*Client
	store storage.MetricStore
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	store := storage.NewDiskMetricStore("", 0, nil, logger)
	t.Cleanup(func() { _ = store.Shutdown() })
	router := route.New()
	for _, path := range []string{"/metrics/job/:job", "/metrics/job/:job/*labels"} {
		router.Post(path, handler.Push(store, false, true, false, logger))
		router.Put(path, handler.Push(store, true, true, false, logger))
	}
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	client, err := New(server.URL + "/")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return &gateway{client, store}
}

// pushed returns a scrape of the gateway, without the gateway's own metrics of pushes.
func (g *gateway) pushed(t testing.TB) string {
	t.Helper()
	var text bytes.Buffer
	families := g.store.GetMetricFamilies()
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "push_") {
			continue
		}
		_, err := expfmt.MetricFamilyToText(&text, family)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	}
	return text.String()
}

func golden(t testing.TB, name, got string) {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join("testdata", name)
	if *update {
		g.Expect(os.MkdirAll("testdata", 0o755)).To(Succeed())
		g.Expect(os.WriteFile(file, []byte(got), 0o644)).To(Succeed())
	}
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(string(want)), "run the tests with -update and read what has changed")
}

func at(minute, second int) *metav1.Time {
	return &metav1.Time{Time: time.Date(2026, 11, 20, 2, minute, second, 0, time.UTC)}
}

// backup is a run for a claim with components of two hosts in one repository.
func backup(phase v1alpha1.BackupSessionPhase) Backup {
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "files-nightly-1"}}
	s.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
		APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
		Name: "files",
	}
	s.Spec.Session = "nightly"
	s.Status = v1alpha1.BackupSessionStatus{Phase: phase, StartTime: at(0, 0), CompletionTime: at(1, 30)}
	s.Status.Targets = []v1alpha1.BackupTargetStatus{{Name: "files"}}
	s.Status.Resolved = &v1alpha1.ResolvedBackup{Targets: []v1alpha1.ResolvedTarget{{
		Name:         "files",
		AppRef:       v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "files"},
		Task:         v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		Repositories: []v1alpha1.ResolvedRepository{{Name: "r", Snapshot: "snap"}},
		Hosts: []v1alpha1.ResolvedHost{
			{Name: "pod-0", Volumes: []v1alpha1.ResolvedVolume{{Component: "a"}, {Component: "b"}}},
			{Name: "pod-1", Volumes: []v1alpha1.ResolvedVolume{{Component: "c"}}},
		},
	}}}
	snapshot := &v1alpha1.Snapshot{
		Status: v1alpha1.SnapshotStatus{Phase: v1alpha1.SnapshotPhase(phase), SnapshotTime: at(1, 20)},
	}
	snapshot.Status.Components = map[string]v1alpha1.Component{
		"a": {
			Phase: v1alpha1.SnapshotSucceeded, SizeBytes: 100, UploadedBytes: 10,
			ComponentCounts: v1alpha1.ComponentCounts{Files: 3}, StartTime: at(0, 10), CompletionTime: at(0, 30),
		},
		"b": {
			Phase: v1alpha1.SnapshotSucceeded, SizeBytes: 200, UploadedBytes: 20,
			ComponentCounts: v1alpha1.ComponentCounts{Files: 4}, StartTime: at(0, 5), CompletionTime: at(1, 0),
		},
		"c": {
			Phase: v1alpha1.SnapshotPhase(phase), SizeBytes: 7, UploadedBytes: 1,
			ComponentCounts: v1alpha1.ComponentCounts{Files: 1}, StartTime: at(0, 5), CompletionTime: at(0, 6),
		},
	}
	storage := &v1alpha1.BackupStorage{}
	storage.Spec.Storage = v1alpha1.Storage{Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{Bucket: "backups"}}
	return Backup{
		Session: s, Now: at(2, 0).Time, Snapshots: map[string]*v1alpha1.Snapshot{"snap": snapshot},
		Repositories: map[string]*v1alpha1.Repository{"r": {
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: v1alpha1.RepositorySpec{Path: "/shop/files"},
			Status: v1alpha1.RepositoryStatus{
				SnapshotCount: new(int32(5)), StoredBytes: new(int64(4096)),
				Integrity: new(true),
			},
		}},
		Storages: map[string]*v1alpha1.BackupStorage{"r": storage},
	}
}

func restored(phase v1alpha1.RestoreSessionPhase) *v1alpha1.RestoreSession {
	r := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "back"}}
	r.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "files"}
	r.Status = v1alpha1.RestoreSessionStatus{Phase: phase, StartTime: at(0, 0), CompletionTime: at(0, 40)}
	r.Status.Resolved = &v1alpha1.ResolvedRestore{
		Task:       v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		Repository: v1alpha1.ResolvedRepository{Name: "r"},
	}
	r.Status.Resolved.Hosts = []v1alpha1.ResolvedRestoreHost{
		{Name: "target", Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "data"}}},
	}
	r.Status.Components = map[string]v1alpha1.RestoredComponent{
		"data": {Phase: phase, StartTime: at(0, 2), CompletionTime: at(0, 37)},
	}
	return r
}

func TestWhatEndedIsPushedWithStashsNames(t *testing.T) {
	for name, set := range map[string]*Set{
		"backup.txt":  BackupSet(backup(v1alpha1.BackupSessionSucceeded)),
		"restore.txt": RestoreSet(restored(v1alpha1.RestoreSessionSucceeded)),
	} {
		t.Run(name, func(t *testing.T) {
			gateway := newGateway(t)
			NewWithT(t).Expect(gateway.Push(t.Context(), set)).To(Succeed())
			golden(t, name, gateway.pushed(t))
			NewWithT(t).Expect(gateway.Push(t.Context(), set)).To(Succeed())
			golden(t, name, gateway.pushed(t)) // Once more is no more.
		})
	}
}

func TestAFailureKeepsWhenTheLastSuccessWas(t *testing.T) {
	g := NewWithT(t)
	gateway := newGateway(t)
	g.Expect(gateway.Push(t.Context(), BackupSet(backup(v1alpha1.BackupSessionSucceeded)))).To(Succeed())
	g.Expect(gateway.Push(t.Context(), BackupSet(backup(v1alpha1.BackupSessionFailed)))).To(Succeed())
	text := gateway.pushed(t)
	const labels = `{driver="Kopia",instance="",invoker_kind="BackupConfiguration",invoker_name="files",job="backupconfiguration-shop-files",namespace="shop",repository="r",session="nightly"}`
	g.Expect(text).To(ContainSubstring("\nstash_backup_session_success" + labels + " 0\n"))
	g.Expect(text).To(ContainSubstring("\nstash_appscode_com_backupsession_success" + labels + " 0\n"))
	g.Expect(text).To(ContainSubstring("\nstash_backup_last_success_time_seconds" + labels + " 1.79514009e+09\n"))
	g.Expect(text).To(ContainSubstring(`hostname="pod-0"`))
	failed := newGateway(t)
	g.Expect(failed.Push(t.Context(), BackupSet(backup(v1alpha1.BackupSessionFailed)))).To(Succeed())
	g.Expect(failed.pushed(t)).NotTo(ContainSubstring("session_duration_seconds"), "a failure has its success alone")
}

// batch is a run of two targets with one repository each.
func batch(phase v1alpha1.BackupSessionPhase) Backup {
	b := backup(phase)
	targets := &b.Session.Status.Resolved.Targets
	*targets = append(*targets, v1alpha1.ResolvedTarget{
		Name: "web", AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "web"},
		Task:         v1alpha1.ResolvedTask{Driver: v1alpha1.DriverKopia},
		Repositories: []v1alpha1.ResolvedRepository{{Name: "w", Snapshot: "web"}},
	})
	b.Snapshots["web"] = &v1alpha1.Snapshot{
		Status: v1alpha1.SnapshotStatus{Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: at(1, 20)},
	}
	return b
}

// lines returns the lines of a metric, without the labels that they share.
func lines(text, metric string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, metric+"{") {
			_, value, _ := strings.Cut(line, "} ")
			_, repository, _ := strings.Cut(line, `repository="`)
			repository, _, _ = strings.Cut(repository, `"`)
			_, session, _ := strings.Cut(line, `session="`)
			session, _, _ = strings.Cut(session, `"`)
			out = append(out, session+" "+repository+" "+strings.TrimSpace(value))
		}
	}
	return out
}

// A push removes series that have the name of a pushed series and are not pushed.
func TestATargetThatFailsKeepsItsLastSuccessBesideOneThatSucceeds(t *testing.T) {
	g := NewWithT(t)
	gateway := newGateway(t)
	g.Expect(gateway.Push(t.Context(), BackupSet(batch(v1alpha1.BackupSessionSucceeded)))).To(Succeed())
	g.Expect(gateway.Push(t.Context(), BackupSet(batch(v1alpha1.BackupSessionFailed)))).To(Succeed())
	text := gateway.pushed(t)
	g.Expect(lines(text, "stash_backup_target_success")).To(ConsistOf("nightly r 0", "nightly w 1"))
	g.Expect(lines(text, "stash_backup_target_last_success_time_seconds")).
		To(ConsistOf("nightly r 1.79514008e+09", "nightly w 1.79514008e+09"))
	g.Expect(lines(text, "stash_backup_session_success")).To(ConsistOf("nightly r 0", "nightly w 0"))
	g.Expect(lines(text, "stash_backup_last_success_time_seconds")).To(HaveLen(2))
}

func TestASessionLeavesTheOthersOfItsInvoker(t *testing.T) {
	g := NewWithT(t)
	gateway := newGateway(t)
	weekly := backup(v1alpha1.BackupSessionFailed)
	weekly.Session.Spec.Session = "weekly"
	g.Expect(gateway.Push(t.Context(), BackupSet(weekly))).To(Succeed())
	g.Expect(gateway.Push(t.Context(), BackupSet(backup(v1alpha1.BackupSessionSucceeded)))).To(Succeed())
	g.Expect(lines(gateway.pushed(t), "stash_backup_session_success")).To(ConsistOf("nightly r 1", "weekly r 0"))
	g.Expect(lines(gateway.pushed(t), "stash_backup_target_success")).To(ConsistOf("nightly r 1", "weekly r 0"))
}

func TestARunThatTriesOneTargetAgainLeavesTheOther(t *testing.T) {
	g := NewWithT(t)
	gateway := newGateway(t)
	g.Expect(gateway.Push(t.Context(), BackupSet(batch(v1alpha1.BackupSessionFailed)))).To(Succeed())
	again := backup(v1alpha1.BackupSessionSucceeded)
	g.Expect(gateway.Push(t.Context(), BackupSet(again))).To(Succeed())
	text := gateway.pushed(t)
	g.Expect(lines(text, "stash_backup_target_success")).To(ConsistOf("nightly r 1", "nightly w 1"))
	g.Expect(lines(text, "stash_backup_session_success")).
		To(ConsistOf("nightly r 1"), "it is what the session's last run says")
}

func TestARunThatMovedNothingTakesTheSuccessAway(t *testing.T) {
	g := NewWithT(t)
	for name, tc := range map[string]struct {
		undo   func(*v1alpha1.BackupSessionStatus)
		target string
	}{
		// no backup of the target began
		"nothing is resolved": {func(s *v1alpha1.BackupSessionStatus) { s.Resolved = nil }, "nightly r 1"},
		"the target is wrong": {
			func(s *v1alpha1.BackupSessionStatus) { s.Resolved.Targets[0].Repositories = nil },
			"nightly  0",
		},
	} {
		gateway := newGateway(t)
		g.Expect(gateway.Push(t.Context(), BackupSet(backup(v1alpha1.BackupSessionSucceeded)))).To(Succeed())
		b := backup(v1alpha1.BackupSessionFailed)
		tc.undo(&b.Session.Status)
		g.Expect(gateway.Push(t.Context(), BackupSet(b))).To(Succeed())
		text := gateway.pushed(t)
		g.Expect(lines(text, "stash_backup_session_success")).To(ConsistOf("nightly  0"), name)
		g.Expect(lines(text, "stash_backup_target_success")).To(ConsistOf(tc.target), name)
		g.Expect(lines(text, "stash_backup_last_success_time_seconds")).To(HaveLen(1), name)

		g.Expect(gateway.Push(t.Context(), BackupSet(backup(v1alpha1.BackupSessionSucceeded)))).To(Succeed())
		text = gateway.pushed(t)
		g.Expect(lines(text, "stash_backup_session_success")).To(ConsistOf("nightly r 1"), name)
		g.Expect(lines(text, "stash_backup_target_success")).To(ConsistOf("nightly r 1"), name)
	}
}

func TestARestoreThatFailsHasItsFailureAlone(t *testing.T) {
	g := NewWithT(t)
	gateway := newGateway(t)
	g.Expect(gateway.Push(t.Context(), RestoreSet(restored(v1alpha1.RestoreSessionFailed)))).To(Succeed())
	text := gateway.pushed(t)
	for _, metric := range []string{
		"stash_restore_session_success", "stash_restore_target_success",
		"stash_restore_host_restore_success",
	} {
		g.Expect(lines(text, metric)).To(ConsistOf(" r 0"), metric)
	}
	g.Expect(text).NotTo(ContainSubstring("duration"))
}

// The labels of a repository say where it is, like Stash's.
func TestWhereARepositoryIs(t *testing.T) {
	for name, tc := range map[string]struct {
		storage        v1alpha1.Storage
		bucket, prefix string
	}{
		"s3":    {v1alpha1.Storage{S3: &v1alpha1.S3Storage{Bucket: "b", Prefix: "/prod/"}}, "b", "prod/shop/files"},
		"gcs":   {v1alpha1.Storage{GCS: &v1alpha1.GCSStorage{Bucket: "g", Prefix: "p"}}, "g", "p/shop/files"},
		"azure": {v1alpha1.Storage{Azure: &v1alpha1.AzureStorage{Container: "c"}}, "c", "shop/files"},
		"local": {v1alpha1.Storage{Local: &v1alpha1.LocalStorage{SubPath: "sub"}}, "", "sub/shop/files"},
	} {
		b := backup(v1alpha1.BackupSessionSucceeded)
		tc.storage.Provider = v1alpha1.StorageProvider(name)
		b.Storages["r"].Spec.Storage = tc.storage
		gateway := newGateway(t)
		g := NewWithT(t)
		g.Expect(gateway.Push(t.Context(), BackupSet(b))).To(Succeed())
		g.Expect(gateway.pushed(t)).To(
			ContainSubstring(`stash_repository_snapshot_count{backend="` + name + `",bucket="` + tc.bucket +
				`",instance="",job="backupconfiguration-shop-files",name="r",namespace="shop",prefix="` + tc.prefix +
				`"} 5`))
	}
}

func TestTheAddressOfAPushgateway(t *testing.T) {
	for address, says := range map[string]string{
		"http://gateway:9091":           "",
		"https://gateway/base/":         "",
		"gateway:9091":                  "write a URL such as http://pushgateway:9091",
		"ftp://gateway":                 "invalid URL",
		"http://user:hunter2@gateway:1": "the URL of the Pushgateway at gateway:1 must not contain a credential",
	} {
		_, err := New(address)
		g := NewWithT(t)
		if says == "" {
			g.Expect(err).NotTo(HaveOccurred(), address)
			continue
		}
		g.Expect(err).To(MatchError(ContainSubstring(says)), address)
		g.Expect(err).NotTo(MatchError(ContainSubstring("hunter2")))
	}
}

// A connection that somebody else closes as a push begins on it fails that push. The end of each httptest.Server closes
// those of http.DefaultTransport.
func TestNobodyElseClosesTheConnectionsOfAClient(t *testing.T) {
	t.Parallel()
	g, gateway := NewWithT(t), newGateway(t)
	push := func() bool {
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
		})
		set := BackupSet(backup(v1alpha1.BackupSessionSucceeded))
		set.groups = set.groups[:1]
		g.Expect(gateway.Push(ctx, set)).To(Succeed())
		return reused
	}
	g.Expect(push()).To(BeFalse(), "the first push opens a connection")
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	g.Expect(push()).To(BeTrue(), "the second push uses it again")
}
