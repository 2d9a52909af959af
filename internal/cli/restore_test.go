package cli_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestRestore(t *testing.T) {
	ns := namespace(t, "restore")

	t.Run("the newest of a repository, as a user", func(t *testing.T) {
		g := NewWithT(t)
		args := []string{
			"restore", "web-again", "-n", ns, "--repository", "shop-web", "--snapshot", "latest", "--target",
			"web-restored", "--run-as-user", "1000",
		}
		g.Expect(runIn(t, args...)).To(Equal(result{out: "restoresession/web-again created\n"}))
		var s v1alpha1.RestoreSession
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web-again"}, &s)).To(Succeed())
		g.Expect(*s.Spec.Target).
			To(Equal(v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web-restored"}))
		g.Expect(*s.Spec.DataSource).To(Equal(v1alpha1.RestoreDataSource{Repository: "shop-web", Snapshot: "latest"}))
		g.Expect(*s.Spec.Addon.JobTemplate.Spec.SecurityContext.RunAsUser).To(Equal(int64(1000)))

		g.Expect(runIn(t, args...)).To(Equal(result{
			out: "restoresession/web-again exists already: nothing is restored again. Choose another name for " +
				"another restore\n",
		}))
		r := runIn(t, "restore", "web-again", "-n", ns, "--repository", "shop-web", "--target", "other")
		g.Expect(r).
			To(
				Equal(
					result{
						code: 1,
						err: "error: restoresession/web-again exists already and restores something else: choose " +
							"another name\n",
					}))
	})

	t.Run("a component of a snapshot, with a name made of target and time", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "-n", ns, "--snapshot", "db-1", "--component", "pod-1", "--target", "db-copy")
		name := fmt.Sprintf("db-copy-%d", pinned.Unix())
		g.Expect(r).To(Equal(result{out: "restoresession/" + name + " created\n"}))
		var s v1alpha1.RestoreSession
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &s)).To(Succeed())
		g.Expect(*s.Spec.DataSource).
			To(Equal(v1alpha1.RestoreDataSource{Snapshot: "db-1", Components: []string{"pod-1"}}))
		g.Expect(s.Spec.Addon).To(BeNil())
	})

	t.Run("everything that can be said", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "all", "-n", ns, "--repository", "shop-db", "--at", "2026-11-19T21:00:00+01:00",
			"--target",
			"sts/db",
			"--component", "pod-0,pod-1", "--include", "/a,*.txt", "--exclude", "b", "--confirm", "uid", "--overwrite",
			"IfNewer", "--delete-extra", "--verify",
			"--sidecar", "--retries", "2", "--from-namespace", "other", "--encryption-secret", "enc")
		g.Expect(r).To(Equal(result{out: "restoresession/all created\n"}))
		var s v1alpha1.RestoreSession
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "all"}, &s)).To(Succeed())
		g.Expect(*s.Spec.Target).
			To(Equal(v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "StatefulSet", Name: "db"}))
		source := s.Spec.DataSource
		g.Expect(source.PITR.TargetTime.UTC().String()).To(HavePrefix("2026-11-19 20:00:00"))
		g.Expect(source.Components).To(Equal([]string{"pod-0", "pod-1"}))
		g.Expect(source.Namespace).To(Equal("other"))
		g.Expect(source.EncryptionSecret.Name).To(Equal("enc"))
		g.Expect(s.Spec.Addon.Name).To(Equal("workload-addon"))
		g.Expect(s.Spec.Addon.Tasks[0].Params.Raw).To(MatchJSON(`{"include": "/a,*.txt", "exclude": "b"}`))
		g.Expect(s.Spec.Confirm).To(Equal("uid"))
		g.Expect(s.Spec.OverwritePolicy).To(Equal(v1alpha1.OverwriteIfNewer))
		g.Expect(s.Spec.DeleteExtraFiles && s.Spec.Verify).To(BeTrue())
		g.Expect(s.Spec.Executor).To(Equal(v1alpha1.ExecutorSidecar))
		g.Expect(s.Spec.RetryConfig.MaxRetry).To(BeEquivalentTo(2))
	})

	t.Run("into databases", func(t *testing.T) {
		for target, tt := range map[string]struct {
			args  string
			kind  v1alpha1.TypedObjectReference
			addon string // and its parameters
		}{
			"service/db": {
				"--addon postgres-addon --param secretName=db,sslMode=require --param args=--no-owner",
				v1alpha1.TypedObjectReference{Kind: "Service", Name: "db"},
				`postgres-addon {"args":"--no-owner","secretName":"db","sslMode":"require"}`,
			},
			"svc/redis": {
				"--addon redis-addon --param secretName=redis --confirm uid",
				v1alpha1.TypedObjectReference{Kind: "Service", Name: "redis"},
				`redis-addon {"secretName":"redis"}`,
			},
			"secret/binding": {"", v1alpha1.TypedObjectReference{Kind: "Secret", Name: "binding"}, ""},
			"secret/login": {
				"--addon mariadb-addon",
				v1alpha1.TypedObjectReference{Kind: "Secret", Name: "login"},
				"mariadb-addon ",
			},
			"appbinding/shop": {
				"--addon mysql-addon",
				v1alpha1.TypedObjectReference{APIGroup: "appcatalog.appscode.com", Kind: "AppBinding", Name: "shop"},
				"mysql-addon ",
			},
			"cluster/pg": {
				"",
				v1alpha1.TypedObjectReference{APIGroup: "postgresql.cnpg.io", Kind: "Cluster", Name: "pg"},
				"",
			},
			"Cluster/other": {
				"--param args=--no-owner",
				v1alpha1.TypedObjectReference{APIGroup: "postgresql.cnpg.io", Kind: "Cluster", Name: "other"},
				`postgres-addon {"args":"--no-owner"}`,
			},
		} {
			g := NewWithT(t)
			r := runIn(t,
				append([]string{"restore", "-n", ns, "--snapshot", "dumps", "--component", "dump", "--target", target},
					strings.Fields(tt.args)...)...)
			name := fmt.Sprintf("%s-%d", tt.kind.Name, pinned.Unix())
			g.Expect(r).To(Equal(result{out: "restoresession/" + name + " created\n"}), target)
			var s v1alpha1.RestoreSession
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &s)).To(Succeed())
			g.Expect(*s.Spec.Target).To(Equal(tt.kind))
			if tt.addon == "" {
				g.Expect(s.Spec.Addon).To(BeNil())
				continue
			}
			addon, params, _ := strings.Cut(tt.addon, " ")
			g.Expect(s.Spec.Addon.Name).To(Equal(addon))
			if params != "" {
				g.Expect(s.Spec.Addon.Tasks[0].Params.Raw).To(MatchJSON(params))
			}
		}
	})

	t.Run("a new claim, twice", func(t *testing.T) {
		g := NewWithT(t)
		args := []string{
			"restore", "new", "-n", ns, "--snapshot", "db-1", "--new-claim", "copy-${POD_ORDINAL}", "--size",
			"1024Mi", "--storage-class", "fast",
		}
		g.Expect(runIn(t, args...)).To(Equal(result{out: "restoresession/new created\n"}))
		var s v1alpha1.RestoreSession
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "new"}, &s)).To(Succeed())
		template := s.Spec.Addon.Tasks[0].TargetVolumes.VolumeClaimTemplates[0]
		g.Expect(template.Metadata.Name).To(Equal("copy-${POD_ORDINAL}"))
		g.Expect(template.Spec.Resources.Requests.Storage().String()).To(Equal("1Gi"))
		g.Expect(*template.Spec.StorageClassName).To(Equal("fast"))
		g.Expect(s.Spec.Target).To(BeNil())
		g.Expect(runIn(t, args...).out).To(ContainSubstring("exists already"))
	})

	t.Run("new volumes of VolumeSnapshots", func(t *testing.T) {
		g := NewWithT(t)
		shots := &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shots"},
			Spec: v1alpha1.RepositorySpec{
				Driver: v1alpha1.DriverVolumeSnapshotter,
				AppRef: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "a"},
			},
		}
		g.Expect(bed.Client.Create(t.Context(), shots)).To(Succeed())
		g.Expect(runIn(t, "restore", "volumes", "-n", ns, "--repository", "shots", "--new-claim", "data-${POD_ORDINAL}",
			"--replace", "u1,u2")).To(Equal(result{out: "restoresession/volumes created\n"}))
		var s v1alpha1.RestoreSession
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "volumes"}, &s)).To(Succeed())
		g.Expect(s.Spec.Addon.Name).To(Equal("pvc-addon"))
		g.Expect(s.Spec.Addon.Tasks[0].Name).To(Equal("volume-snapshot-restore"))
		template := s.Spec.Addon.Tasks[0].TargetVolumes.VolumeClaimTemplates[0]
		g.Expect(template.Metadata.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationReplace, "u1,u2"))
		g.Expect(template.Spec).To(BeZero(), "the manager fills in what the VolumeSnapshots need")
		for args, says := range map[string]string{
			"--target a":                    "pass --new-claim instead of --target",
			"--new-claim b --verify":        "are for files",
			"--new-claim b --include x":     "are for files",
			"--new-claim b --run-as-user 0": "is for files",
			"--target a --replace u":        "need --new-claim",
			"--new-claim b --size big":      "invalid --size",
		} {
			r := runIn(t, append([]string{"restore", "-n", ns, "--repository", "shots"}, strings.Fields(args)...)...)
			g.Expect(r.err).To(ContainSubstring(says), args)
		}
		g.Expect(runIn(t, "restore", "-n", ns, "--snapshot", "db-1", "--new-claim", "b", "--size", "1Gi",
			"--replace", "u").
			err).To(ContainSubstring("--replace is for VolumeSnapshots"))
	})

	t.Run("flags that cannot be used together", func(t *testing.T) {
		for _, tt := range []struct{ args, err string }{
			{"--snapshot s", "--target"},
			{"--snapshot s --target a --new-claim b", "cannot be used together"},
			{"--snapshot s --new-claim b", "--size"},
			{"--snapshot s --new-claim b --size big", "invalid --size"},
			{"--snapshot s --target a --size 1Gi", "--new-claim"},
			{"--snapshot s --target a --overwrite IfNewer", "--confirm"},
			{"--snapshot s --target a --at 2026-11-19T20:00:00Z", "--at needs --repository"},
			{"--repository r --target a --at yesterday", "invalid --at"},
			{"--repository r --target job/a", "the kind must be"},
			{"--repository r --target service/db", "name the Addon, such as postgres-addon"},
			{
				"--repository r --target secret/db --param args=x",
				"only the cluster knows which database Secret/db stands for",
			},
			{"--repository r --target cluster/db --include a", "--include is for files"},
			{"--repository r --target a --include [", `invalid --include: pattern "[" is not valid`},
			{"--repository r --target cluster/db --verify", "are for volumes"},
			{"--repository r --target cluster/db --confirm uid --overwrite Never", "are for volumes"},
			{"--repository r --target a --include a --param include=b", "cannot be used together"},
			{"--repository r --target a --param b", "must be formatted as key=value"},
		} {
			g := NewWithT(t)
			r := runIn(t, append([]string{"restore", "-n", ns}, strings.Fields(tt.args)...)...)
			g.Expect(r.code).To(Equal(2), tt.args)
			g.Expect(r.err).To(ContainSubstring(tt.err), tt.args)
		}
	})

	t.Run("a long target's name is cut", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "-n", ns, "--snapshot", "db-1", "--target", strings.Repeat("a", 51)+"-"+
			strings.Repeat("b", 60))
		g.Expect(r).
			To(Equal(result{
				out: fmt.Sprintf("restoresession/%s-%d created\n", strings.Repeat("a", 51), pinned.Unix()),
			}))
	})
}

func TestRestoreWaitSaysWhatItWaitsFor(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t, "restore-waits")
	s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "no-class"}}
	whenThere(t, s, func(ctx context.Context) error {
		s.Status.Phase, s.Status.Reason = v1alpha1.RestoreSessionRunning, v1alpha1.ReasonStorageClassNotFound
		s.Status.Components = map[string]v1alpha1.RestoredComponent{"data": {Phase: v1alpha1.RestoreSessionPending}}
		s.Status.Conditions = []metav1.Condition{{
			Type: "Ready", Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonStorageClassNotFound,
			Message: "waiting: there is no StorageClass fast", LastTransitionTime: metav1.NewTime(pinned),
		}}
		return bed.Client.Status().Update(ctx, s)
	})
	r := runIn(t, "restore", "no-class", "-n", ns, "--repository", "shop-web", "--target", "web-restored", "--wait",
		"--timeout", "3s")
	g.Expect(r.code).To(Equal(5), "the time is up")
	g.Expect(r.out).To(HaveSuffix("waiting: there is no StorageClass fast\ncomponent data: pending\n"))
}

func TestRestoreWait(t *testing.T) {
	ns := namespace(t, "restore-wait")
	tests := map[string]struct {
		phase    v1alpha1.RestoreSessionPhase
		reason   string
		code     int
		out, err string
		more     []string
	}{
		"succeeded is 0": {
			v1alpha1.RestoreSessionSucceeded, "Succeeded", 0,
			"component data: succeeded, 12.0 MiB in 40 files, 2 owners not restored\nrestoresession/NAME succeeded " +
				"in 3s\n",
			"warning: 2 owners of files and directories not restored: they belong to the user that the restore ran " +
				"as. If a program needs them as another user, restore again with --run-as-user\n",
			nil,
		},
		"whoever names a user needs no warning": {
			v1alpha1.RestoreSessionSucceeded, "Succeeded", 0,
			"component data: succeeded, 12.0 MiB in 40 files, 2 owners not restored\nrestoresession/NAME succeeded " +
				"in 3s\n", "",
			[]string{"--run-as-user", "1000"},
		},
		"the Snapshot holds less than others": {
			v1alpha1.RestoreSessionSucceeded, "Succeeded", 0,
			"component data: succeeded, 12.0 MiB in 40 files, 2 owners not restored\nrestoresession/NAME succeeded " +
				"in 3s\n", "warning: less than others\n",
			[]string{"--run-as-user", "1000", "--verify"},
		},
		"failed is 3": {
			v1alpha1.RestoreSessionFailed, "VolumeNotEmpty", 3,
			"component data: failed (VolumeNotEmpty): it holds files\n",
			"error: restoresession/NAME failed in 3s (VolumeNotEmpty): it holds files\n", nil,
		},
		"invalid is 3": {
			v1alpha1.RestoreSessionInvalid, "SnapshotNotFound", 3,
			"component data: invalid (SnapshotNotFound): it holds files\n",
			"error: restoresession/NAME invalid in 3s (SnapshotNotFound): it holds files\n", nil,
		},
		"skipped is 4": {
			v1alpha1.RestoreSessionSkipped, "AlreadyRestored", 4,
			"component data: skipped (AlreadyRestored): it holds files\n",
			"error: restoresession/NAME skipped in 3s (AlreadyRestored): it holds files\n", nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			name := strings.ToLower(string(tt.phase)) + strings.Join(tt.more, "")
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
			whenThere(t, s, func(ctx context.Context) error {
				c := v1alpha1.RestoredComponent{
					Phase: tt.phase, Reason: tt.reason, Error: "it holds files", SizeBytes: 12 << 20,
					Files: 40, OwnersNotRestored: 2,
				}
				s.Status.Phase, s.Status.Reason, s.Status.Duration = tt.phase, tt.reason, "3s"
				s.Status.Components = map[string]v1alpha1.RestoredComponent{"data": c}
				if tt.code != 0 {
					s.Status.Conditions = []metav1.Condition{{
						Type: "Ready", Status: metav1.ConditionFalse, Reason: tt.reason, Message: "it holds files",
						LastTransitionTime: metav1.NewTime(pinned),
					}}
				}
				if strings.Contains(tt.err, "less") {
					s.Status.Conditions = []metav1.Condition{{
						Type: v1alpha1.ConditionPartial, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonHoldsLess,
						Message: "less than others", LastTransitionTime: metav1.NewTime(pinned),
					}}
				}
				return bed.Client.Status().Update(ctx, s)
			})
			r := runIn(t, append([]string{
				"restore", name, "-n", ns, "--repository", "shop-web", "--target", "web-restored", "--wait",
				"--timeout", "30s",
			}, tt.more...)...)
			g.Expect(r.code).To(Equal(tt.code))
			out := strings.Replace(strings.TrimPrefix(r.out, "restoresession/"+name+" created\n"), "pending\n", "", 1)
			g.Expect(out).To(Equal(strings.ReplaceAll(tt.out, "NAME", name)))
			g.Expect(r.err).To(Equal(strings.ReplaceAll(tt.err, "NAME", name)))
		})
	}
}
