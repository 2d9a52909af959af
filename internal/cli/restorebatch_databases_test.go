package cli_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// addon returns an Addon with one task.
func addon(name, task string, params ...string) *v1alpha1.AddonInfo {
	given := map[string]string{}
	for i := 0; i < len(params); i += 2 {
		given[params[i]] = params[i+1]
	}
	return &v1alpha1.AddonInfo{
		Name: name, Tasks: []v1alpha1.TaskReference{{Name: task, Params: catalog.NewParams(given)}},
	}
}

func TestRestoreOfABatchWithDatabases(t *testing.T) {
	NewWithT(t).Expect(testbed.InstallCatalog(t.Context(), bed.Client)).To(Succeed())
	ns := namespace(t, "restore-databases")
	g := NewWithT(t)
	service := func(name string) v1alpha1.TypedObjectReference {
		return v1alpha1.TypedObjectReference{Kind: "Service", Name: name}
	}
	session := func(name string, targets ...v1alpha1.BatchSessionTarget) v1alpha1.BackupBatchSession {
		return v1alpha1.BackupBatchSession{SessionConfig: v1alpha1.SessionConfig{Name: name}, Targets: targets}
	}
	batch := &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop"},
		Spec: v1alpha1.BackupBatchSpec{
			Targets: []v1alpha1.BatchTarget{
				{Name: "web", AppRef: v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: "web"}},
				{Name: "orders", AppRef: service("orders")},
				{Name: "blog", AppRef: service("blog")},
				{Name: "cache", Selector: &v1alpha1.TargetSelector{Kinds: []v1alpha1.TargetKind{"Service"}}},
				{Name: "bound", AppRef: v1alpha1.TypedObjectReference{Kind: "Secret", Name: "binding"}},
				{Name: "cnpg", AppRef: v1alpha1.TypedObjectReference{
					APIGroup: "postgresql.cnpg.io", Kind: "Cluster", Name: "pg",
				}},
			},
			Sessions: []v1alpha1.BackupBatchSession{
				session("hourly", v1alpha1.BatchSessionTarget{
					Name: "orders",
					Addon: addon("postgres-addon", "logical-backup", "secretName", "pg", "databases", "orders", "args",
						"--no-sync"),
				}),
				session("nightly",
					v1alpha1.BatchSessionTarget{
						Name: "web", Addon: addon("workload-addon", "logical-backup", "paths", "/pages"),
					},
					v1alpha1.BatchSessionTarget{
						Name: "orders", Addon: addon("postgres-addon", "LogicalBackup", "secretName", "pg"),
					},
					v1alpha1.BatchSessionTarget{
						Name:  "blog",
						Addon: addon("mariadb-addon", "logical-backup", "secretName", "my", "usernameKey", "user"),
					},
					v1alpha1.BatchSessionTarget{
						Name:  "cache",
						Addon: addon("redis-addon", "logical-backup", "secretName", "redis", "user", "keeper"),
					},
					v1alpha1.BatchSessionTarget{Name: "bound"}, v1alpha1.BatchSessionTarget{Name: "cnpg"}),
				session(
					"weekly", v1alpha1.BatchSessionTarget{
						Name: "blog", Addon: addon("mariadb-addon", "logical-backup", "secretName", "another"),
					}),
				session("base",
					v1alpha1.BatchSessionTarget{Name: "cnpg", Addon: addon("postgres-addon", "physical-backup")}),
			},
		},
	}
	g.Expect(bed.Client.Create(t.Context(), batch)).To(Succeed())
	batch.Status.Targets = []v1alpha1.BatchTargetStatus{
		{Name: "cache-service-redis", FoundBy: "cache", AppRef: service("redis")},
	}
	g.Expect(bed.Client.Status().Update(t.Context(), batch)).To(Succeed())
	restored := func(name string) map[string]v1alpha1.RestoreBatchTarget {
		t.Helper()
		var b v1alpha1.RestoreBatch
		NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &b)).To(Succeed())
		out := map[string]v1alpha1.RestoreBatchTarget{}
		for _, target := range b.Spec.Targets {
			out[target.Name] = target
		}
		return out
	}
	run := func(args string) result {
		t.Helper()
		return runIn(t, append([]string{"restore", "-n", ns, "--batch", "shop"}, strings.Fields(args)...)...)
	}

	t.Run("with what their session says of them", func(t *testing.T) {
		g := NewWithT(t)
		args := "plain --session nightly --verify"
		g.Expect(run(args)).To(Equal(result{out: "restorebatch/plain created\n"}))
		g.Expect(restored("plain")).To(Equal(map[string]v1alpha1.RestoreBatchTarget{
			"web": {Name: "web", Verify: true},
			"orders": {
				Name:  "orders",
				Addon: addon("postgres-addon", "logical-backup-restore", "secretName", "pg"),
			},
			"blog": {
				Name:  "blog",
				Addon: addon("mariadb-addon", "logical-backup-restore", "secretName", "my", "usernameKey", "user"),
			},
			"cache-service-redis": {
				Name:  "cache-service-redis",
				Addon: addon("redis-addon", "logical-backup-restore", "secretName", "redis", "user", "keeper"),
			},
			"bound": {Name: "bound"},
			"cnpg":  {Name: "cnpg", Addon: addon("postgres-addon", "logical-backup-restore")},
		}))
		g.Expect(run(args).out).To(ContainSubstring("exists already"))
	})
	t.Run("with what flags say instead", func(t *testing.T) {
		g := NewWithT(t)
		r := run("flags --session nightly --only orders,blog,web --param secretName=copy --param " +
			"orders/args=--no-owner,blog/port=3307,web/exclude=tmp --confirm web/uid --addon blog/mysql-addon")
		g.Expect(r).To(Equal(result{out: "restorebatch/flags created\n"}))
		g.Expect(restored("flags")).To(Equal(map[string]v1alpha1.RestoreBatchTarget{
			"web": {
				Name: "web", Confirm: "uid", Addon: addon("workload-addon", "logical-backup-restore", "exclude", "tmp"),
			},
			"orders": {
				Name: "orders", Addon: addon("postgres-addon", "logical-backup-restore", "secretName", "copy", "args",
					"--no-owner"),
			},
			"blog": {
				Name: "blog", Addon: addon("mysql-addon", "logical-backup-restore", "secretName", "copy", "usernameKey",
					"user", "port", "3307"),
			},
		}))
	})
	t.Run("of a BackupBatch that is gone", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(
			t,
			strings.Fields("restore gone -n "+ns+
				" --batch before --only db,web --addon db/redis-addon --param secretName=redis")...)
		g.Expect(r).To(Equal(result{out: "restorebatch/gone created\n"}))
		g.Expect(restored("gone")).To(Equal(map[string]v1alpha1.RestoreBatchTarget{
			"web": {Name: "web"},
			"db":  {Name: "db", Addon: addon("redis-addon", "logical-backup-restore", "secretName", "redis")},
		}))
	})
	t.Run("only shown", func(t *testing.T) {
		g := NewWithT(t)
		r := run("shown --only orders --dry-run")
		g.Expect(r.err).To(BeEmpty())
		var shown v1alpha1.RestoreBatch
		g.Expect(yaml.UnmarshalStrict([]byte(r.out), &shown)).To(Succeed())
		g.Expect(r.out).NotTo(Or(ContainSubstring("status"), ContainSubstring("uid"),
			ContainSubstring("creationTimestamp")))
		var there v1alpha1.RestoreBatch
		g.Expect(apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "shown"},
			&there))).
			To(BeTrue())
		g.Expect(bed.Client.Create(t.Context(), &shown)).To(Succeed(), "it can be applied")
		g.Expect(restored("shown")).To(HaveKeyWithValue("orders", v1alpha1.RestoreBatchTarget{
			Name: "orders", Addon: addon("postgres-addon", "logical-backup-restore", "secretName", "pg"),
		}))
		r = runIn(t, "restore", "alone", "-n", ns, "--snapshot", "s", "--target", "web", "--dry-run")
		g.Expect(r.out).
			To(Equal(
				"apiVersion: backup.cairn.dev/v1alpha1\nkind: RestoreSession\nmetadata:\n  name: alone\n  namespace: " +
					ns +
					"\nspec:\n  dataSource:\n    snapshot: s\n  target:\n    kind: PersistentVolumeClaim\n    " +
					"name: web\n"))
	})
	t.Run("what can't work", func(t *testing.T) {
		for args, says := range map[string]string{
			"": "target blog: sessions nightly and weekly back it up in different ways: choose one " +
				"with --session",
			"--session base --only cnpg": "restored into a PersistentVolumeClaim",
			"--session base --only blog": "name the Addon, such as postgres-addon or " +
				"mariadb-addon, with its task: pass --addon blog/ADDON",
			"--session base --only blog --addon blog/mariadb-addon": "name the Secret with its username and password",
			"--session nightly --only orders,blog --param databases=a": "invalid --param databases: no restored " +
				"database takes it",
			"--session nightly --param orders/databases=a": `target orders: the task "logical-backup-restore" ` +
				`has no parameter "databases"`,
			"--session nightly --only blog --param orders/args=a": `target "orders" is not restored`,
			"--session nightly --only orders --addon orders/pvc-addon": "name the Addon of the database, such as " +
				"postgres-addon",
			"--session nightly --only bound --param secretName=a": "only the cluster knows which database " +
				"Secret/binding stands for",
			"--session nightly --addon mariadb-addon": "with --batch write " +
				"TARGET/mariadb-addon",
			"--session nightly --confirm orders/a,orders/b":                     "given twice",
			"--session nightly --dry-run --wait":                                "--dry-run",
			"--session nightly --only unknown --param unknown/secretName=login": "--addon unknown/ADDON",
		} {
			g := NewWithT(t)
			r := run("wrong " + args)
			g.Expect(r.code).To(Equal(2), args+": "+r.err)
			g.Expect(r.err).To(ContainSubstring(says), args)
		}
		g.Expect(run("wrong --session nightly --addon blog/no-addon")).
			To(Equal(result{code: 1, err: "error: there is no Addon no-addon\n"}))
	})
	t.Run("by who may read this namespace alone", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(bed.Client.Create(t.Context(), &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "backups"},
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{v1alpha1.Group}, Resources: []string{"*"}, Verbs: []string{"*"}},
			},
		})).To(Succeed())
		g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "backups"},
			RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "backups"},
			Subjects:   []rbacv1.Subject{{APIGroup: "rbac.authorization.k8s.io", Kind: "User", Name: "tenant"}},
		})).To(Succeed())
		g.Eventually(func() string {
			r := run("tenant --only orders --as tenant")
			return r.out + r.err
		}, "10s").Should(Equal("restorebatch/tenant created\n"), "the right takes a moment to be in force")
		g.Expect(restored("tenant")).To(
			HaveKeyWithValue(
				"orders", HaveField("Addon", addon("postgres-addon", "logical-backup-restore", "secretName", "pg"))))
		r := run("tenant-2 --only orders --addon orders/no-addon --as tenant")
		g.Expect(r.code).To(Equal(1))
		g.Expect(r.err).To(ContainSubstring("forbidden"))
	})
}
