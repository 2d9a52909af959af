package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// databasesApp is a namespace with real servers, each with a name of its own.
type databasesApp struct{ *volumeApp }

// databaseKind is a server with the parameters of its Addon.
type databaseKind struct {
	*databaseServer
	addon  string
	params string // of both tasks
	// one database of the server and what is in it; Redis has none.
	part databasePart
	// limited is a user without the right to read the last table, and the message that its dump fails with.
	limited limitedUser
	// grow fills the server until a dump takes seconds; dumping counts the dumps under way.
	grow, dumping statement
	// killed is what a dump says when its server goes away.
	killed string
}

type databasePart struct {
	params   string
	database string
	drop     []statement
	look     []statement
}

type limitedUser struct {
	make    []statement
	message string
}

// TestDatabases backs up PostgreSQL, MariaDB and Redis servers and restores them after they lost everything: rows,
// large objects, views, functions and accounts are equal. A dump that breaks, for any reason and however late, fails
// the run with what the program said, and leaves nothing that looks like a backup. Passwords are in their Secrets and
// nowhere else.
func TestDatabases(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := &databasesApp{&volumeApp{bed: bed, namespace: "databases"}}
	databaseNamespace(t, bed, a.namespace)
	applyTo(t, bed, a.namespace, storageManifest("s3", a.prefix(), "s3-credentials"))
	t.Run("servers", func(t *testing.T) {
		for _, k := range a.kinds() {
			t.Run(k.Name, func(t *testing.T) {
				t.Parallel()
				loadDatabases(t, bed, k.Image)
				k.start(t)
				k.say(t, k.fill...)
				t.Run("all of it comes back", func(t *testing.T) { a.whole(t, k) })
				t.Run("one database comes back", func(t *testing.T) { a.one(t, k) })
				t.Run("a wrong password", func(t *testing.T) { a.wrongPassword(t, k) })
				t.Run("a right that is missing at the end", func(t *testing.T) { a.limitedUser(t, k) })
				t.Run("the server dies in a dump", func(t *testing.T) { a.serverDies(t, k) })
			})
		}
		t.Run("encrypted", func(t *testing.T) {
			t.Parallel()
			a.encrypted(t)
		})
	})
	t.Run("no password is anywhere", a.noPassword)
}

func (a *databasesApp) kinds() []databaseKind {
	postgresql, mariadb, redis := newPostgreSQL(a.bed, a.namespace), newMariaDB(a.bed, a.namespace),
		newRedis(a.bed, a.namespace)
	return []databaseKind{{
		databaseServer: postgresql, addon: "postgres-addon", params: "secretName: server",
		part: databasePart{
			"databases: archive", "archive", []statement{{"archive", "DROP TABLE old;"}}, postgresql.look[1:2],
		},
		limited: limitedUser{
			[]statement{
				{"shop", `CREATE ROLE limited LOGIN PASSWORD '` + limitedPassword +
					`'; GRANT pg_read_all_data TO limited;`},
			},
			"permission denied for large object 4711",
		},
		grow: statement{
			"archive",
			"CREATE TABLE big AS SELECT n, repeat(md5(n::text), 100) AS text FROM generate_series(1, 100000) n;",
		},
		dumping: statement{
			"archive",
			"SELECT count(*) FROM pg_stat_progress_copy p JOIN pg_stat_activity USING (pid) WHERE application_name = " +
				"'cairn' AND bytes_processed > 1000000;",
		},
		killed: "Dumping the contents of table \"big\" failed",
	}, {
		databaseServer: mariadb, addon: "mariadb-addon", params: "secretName: server",
		part: databasePart{
			"databases: archive", "archive", []statement{{"archive", "DROP TABLE old;"}}, mariadb.look[1:2],
		},
		limited: limitedUser{[]statement{
			{"archive", "CREATE VIEW zebra AS SELECT 1 AS n;"},
			{"mysql", "CREATE USER limited@'%' IDENTIFIED BY '" + limitedPassword +
				"'; GRANT SELECT, EVENT, TRIGGER ON archive.* TO limited@'%'; GRANT SELECT ON mysql.proc TO " +
				"limited@'%';"},
		}, "command denied to user 'limited'"},
		grow: statement{
			"archive", "CREATE TABLE big AS SELECT seq, repeat(md5(seq), 100) AS text FROM seq_1_to_100000;",
		},
		dumping: statement{
			"mysql",
			"SELECT count(*) FROM information_schema.processlist WHERE user = '" + databaseUser +
				"' AND info LIKE 'SELECT%`big`%';",
		},
		killed: "Lost connection to server",
	}, {
		databaseServer: redis, addon: "redis-addon", params: "secretName: server, user: " + databaseUser,
	}}
}

// limitedPassword is the password of the users who are not allowed to read everything.
const limitedPassword = "canary of who is limited"

// configure makes a BackupConfiguration of a database, with a repository of its own name.
func (a *databasesApp) configure(t *testing.T, name string, k databaseKind, params string) {
	t.Helper()
	a.configureWith(t, name, k, params, "500m")
}

// configureWith is configure with a limit on the processor time of the mover.
func (a *databasesApp) configureWith(t *testing.T, name string, k databaseKind, params, cpu string) {
	t.Helper()
	applyTo(t, a.bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: `+name+`}
spec:
  target: {kind: Service, name: `+k.Name+`}
  backends:
  - {name: main, storageRef: {name: s3}}
  sessions:
  - name: manual
    addon:
      name: `+k.addon+`
      tasks: [{name: logical-backup, params: {`+params+`}}]
      jobTemplate: {spec: {resources: {limits: {cpu: `+cpu+`}}}}
    repositories: [{name: `+name+`, backend: main, directory: `+name+`, encryptionSecret: {name: encryption}}]
`)
	waitReady(t, a.bed, a.configuration(name), metav1.ConditionTrue, "")
}

// backUp runs the session, which must succeed.
func (a *databasesApp) backUp(t *testing.T, configuration string) *v1alpha1.Snapshot {
	t.Helper()
	g := NewWithT(t)
	ended := endOf(t, a.bed, a.namespace, a.start(t, configuration))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	snapshot := a.snapshot(t, ended.Name)
	g.Expect(snapshot.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	return snapshot
}

// restore restores a Snapshot into the server and waits for the end.
func (a *databasesApp) restore(
	t *testing.T, name string, k databaseKind, snapshot *v1alpha1.Snapshot, more string,
) *v1alpha1.RestoreSession {
	t.Helper()
	applyTo(t, a.bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: `+name+`}
spec:
  target: {kind: Service, name: `+k.Name+`}
  dataSource: {snapshot: `+snapshot.Name+`}
  addon: {name: `+k.addon+`, tasks: [{name: logical-backup-restore, params: {`+k.params+`}}]}
`+more)
	return endOfRestore(t, a.bed, a.namespace, name)
}

// restored is a restore that must succeed.
func (a *databasesApp) restored(t *testing.T, name string, k databaseKind, snapshot *v1alpha1.Snapshot, more string) {
	t.Helper()
	s := a.restore(t, name, k, snapshot, more)
	NewWithT(t).Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%s: %+v", s.Status.Reason,
		s.Status.Components)
}

// whole brings everything back that the server held.
func (a *databasesApp) whole(t *testing.T, k databaseKind) {
	g := NewWithT(t)
	before := k.say(t, k.look...)
	a.configure(t, k.Name, k, k.params)
	snapshot := a.backUp(t, k.Name)
	g.Expect(snapshot.Status.Components).To(HaveKey("dump"))

	refused := a.restore(t, k.Name+"-refused", k, snapshot, "")
	g.Expect(refused.Status.Phase).NotTo(Equal(v1alpha1.RestoreSessionSucceeded),
		"the server holds data and nobody confirmed")
	g.Expect(k.say(t, k.look...)).To(Equal(before))

	k.say(t, k.drop...)
	a.restored(t, k.Name, k, snapshot, "")
	g.Expect(k.say(t, k.look...)).To(Equal(before))
	again := a.backUp(t, k.Name) // what was restored can be backed up
	g.Expect(again.Status.Components["dump"].SizeBytes).
		To(BeNumerically(">", snapshot.Status.Components["dump"].SizeBytes/2))
}

// one brings one database back that lost a table, and no other, over what is there.
func (a *databasesApp) one(t *testing.T, k databaseKind) {
	if k.part.database == "" {
		t.Skip("it has no databases with names")
	}
	g, name := NewWithT(t), k.Name+"-one"
	before := k.say(t, k.part.look...)
	a.configure(t, name, k, k.params+", "+k.part.params)
	snapshot := a.backUp(t, name)
	g.Expect(snapshot.Status.Components).To(HaveLen(1))
	g.Expect(snapshot.Status.Components).To(HaveKey("dump-" + k.part.database))
	k.say(t, k.part.drop...)
	a.restored(t, name, k, snapshot, "  confirm: "+a.uid(t, k)+"\n")
	g.Expect(k.say(t, k.part.look...)).To(Equal(before))
}

// uid of the server's Service, which stands for the database.
func (a *databasesApp) uid(t *testing.T, k databaseKind) string {
	t.Helper()
	var service corev1.Service
	NewWithT(t).Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: k.Name}, &service)).
		To(Succeed())
	return string(service.UID)
}

// failed checks a run whose dump must have failed: it leaves nothing that looks like a backup.
func (a *databasesApp) failed(t *testing.T, configuration, session, message string, others int) {
	t.Helper()
	g := NewWithT(t)
	ended := endOf(t, a.bed, a.namespace, session)
	said := ended.Status.Targets[0].Message
	g.Expect([]any{ended.Status.Phase, ended.Status.Reason}).
		To(Equal([]any{v1alpha1.BackupSessionFailed, v1alpha1.ReasonDumpFailed}), said)
	g.Expect(said).To(ContainSubstring(message), "it is said what the program said")
	snapshot := a.snapshot(t, session)
	g.Expect(snapshot.Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
	for name, c := range snapshot.Status.Components {
		g.Expect([]any{c.Phase, c.ID}).To(Equal([]any{v1alpha1.SnapshotFailed, ""}), name)
	}
	g.Expect(a.inBackend(t, configuration)).To(HaveLen(others), "no part of a dump is kept as a backup")
	t.Logf("%s: %s: %s", session, ended.Status.Reason, said)
}

func (a *databasesApp) wrongPassword(t *testing.T, k databaseKind) {
	const wrong = "canary that opens nothing"
	name := k.Name + "-wrong"
	_, err := kubectl(t, a.bed, "", "create", "secret", "generic", name, "-n", a.namespace,
		"--from-literal=username="+databaseUser, "--from-literal=password="+wrong)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	a.configure(t, name, k, strings.Replace(k.params, "secretName: server", "secretName: "+name, 1))
	message := map[string]string{
		"postgresql": "password authentication failed", "mariadb": "Access denied for user", "redis": "AUTH failed",
	}[k.Image]
	a.failed(t, name, a.start(t, name), message, 0)
}

func (a *databasesApp) limitedUser(t *testing.T, k databaseKind) {
	if k.limited.make == nil {
		t.Skip("it has no rights of parts")
	}
	name := k.Name + "-limited"
	k.say(t, k.limited.make...)
	_, err := kubectl(t, a.bed, "", "create", "secret", "generic", name, "-n", a.namespace,
		"--from-literal=username=limited", "--from-literal=password="+limitedPassword)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	part := map[string]string{"postgresql": "databases: shop", "mariadb": "databases: archive"}[k.Image]
	a.configure(t, name, k, strings.Replace(k.params, "secretName: server", "secretName: "+name, 1)+", "+part)
	a.failed(t, name, a.start(t, name), k.limited.message, 0)
}

// serverDies kills the server's pod during a dump. The next backup is whole again.
func (a *databasesApp) serverDies(t *testing.T, k databaseKind) {
	if k.grow.text == "" {
		t.Skip("its dumps take no time")
	}
	g, name := NewWithT(t), k.Name+"-killed"
	k.say(t, k.grow)
	a.configureWith(t, name, k, k.params+", "+k.part.params, "75m") // so that there is time to kill the server
	session := a.start(t, name)
	g.Expect(testbed.Poll(t.Context(), patience, "a dump under way", func(ctx contextT) (bool, error) {
		out, err := a.bed.Exec(ctx, k.Namespace, k.Pod(), strings.NewReader(k.before+k.dumping.text),
			k.shell(k.dumping.database)...)
		return err == nil && strings.TrimSpace(out) != "0", err
	})).To(Succeed())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Pod()}}
	g.Expect(a.bed.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
	a.failed(t, name, session, k.killed, 0)
	g.Expect(a.bed.WaitPod(t.Context(), client.ObjectKeyFromObject(pod))).To(Succeed())
	a.backUp(t, name)
}

// noPassword looks for the passwords in all objects and logs of Cairn.
func (a *databasesApp) noPassword(t *testing.T) {
	g := NewWithT(t)
	secrets := map[string]string{}
	for _, password := range []string{databasePassword, limitedPassword, "canary that opens nothing"} {
		for _, form := range []string{
			password, strings.ReplaceAll(password, `\`, `\\`),
			strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password),
		} {
			secrets[form] = password
		}
	}
	free := func(what, text string) {
		t.Helper()
		for form := range secrets {
			g.Expect(strings.Contains(text, form)).To(BeFalse(), "a password in "+what)
		}
	}
	kinds := "backupconfigurations,backupsessions,snapshots,restoresessions,repositories,backupstorages," +
		"jobs,cronjobs,pods,events,configmaps,statefulsets"
	out, err := kubectl(t, a.bed, "", "get", kinds, "-n", a.namespace, "-o", "yaml")
	g.Expect(err).NotTo(HaveOccurred())
	free("objects", out)
	out, err = kubectl(t, a.bed, "", "get", kinds, "-n", a.namespace, "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.name} {.message} {.status}{"\n"}{end}`)
	g.Expect(err).NotTo(HaveOccurred())
	free("messages", out)
	var pods corev1.PodList
	g.Expect(a.bed.Client.List(t.Context(), &pods, client.InNamespace(a.namespace))).To(Succeed())
	for _, pod := range pods.Items {
		out, err := kubectl(t, a.bed, "", "logs", "-n", a.namespace, pod.Name, "--all-containers")
		g.Expect(err).NotTo(HaveOccurred())
		free("the log of "+pod.Name, out)
	}
	out, err = kubectl(t, a.bed, "", "logs", "-n", testbed.SystemNamespace, "deployment/cairn-manager", "--since=20m")
	g.Expect(err).NotTo(HaveOccurred())
	free("the manager's log", out)
	g.Expect(pods.Items).NotTo(BeEmpty(), "movers have logs")
}
