package mover_test

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// backsUpInAnyFormat backs up with the format of the Function, which must fail, and then without, as the sessions that
// began before there were formats do. It returns the second.
func (p *pod) backsUpInAnyFormat(snapshot, says string, components ...task.Component) *task.Result {
	p.t.Helper()
	g := NewWithT(p.t)
	_, result := p.run(p.t.Context(), backupTask(snapshot, components...))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed), "%s: %s", snapshot, result.Message)
	g.Expect(result.Message).To(And(ContainSubstring(says), ContainSubstring("the parameter args")), snapshot)
	g.Expect(result.Components[0].ID).To(BeEmpty(), snapshot)
	for i := range components {
		components[i].Stream = components[i].Stream.DeepCopy()
		components[i].Stream.Format = ""
	}
	_, result = p.run(p.t.Context(), backupTask(snapshot+", unchecked", components...))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "%s: %s", snapshot, result.Message)
	return result
}

// pg_dump and pg_basebackup end well if further arguments make them write another format. The restores read one.
func TestArgumentsThatChangeTheFormatOfPostgreSQLFailTheBackup(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE shop"))
	s.must(s.psql("shop", "CREATE TABLE t (n int)"))
	base := catalogTask{addon: "postgres-addon", server: s}
	for _, args := range []string{"-Fp", "--format=tar"} {
		components := base.with("databases", "shop", "args", args).components(p, false)
		made := p.backsUpInAnyFormat("dump "+args, "the custom format", components...)
		result := base.with().confirmed().restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), args)
		t.Log(result.Message)
	}
	base.with("databases", "shop", "args", "-Z 5").backedUp(p, "compressed in the archive")
	base.with("args", "--no-comments").backedUp(p, "everything")

	base.backs = "physical-backup"
	for _, args := range []string{"--gzip", "-Z 5"} {
		components := base.with("args", args).components(p, false)
		made := p.backsUpInAnyFormat("files "+args, "tar archive", components...)
		g.Expect(os.RemoveAll(p.in("."))).To(Succeed())
		result := p.unpacks(made.Components[0].ID, mover.Flags{Unpack: "pgdata"}, nil)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), args)
		t.Log(result.Message)
	}
	base.with("args", "--max-rate=500M").backedUp(p, "as it is")
}

// So do mariadb-dump and mariadb-backup.
func TestArgumentsThatChangeTheFormatOfMariaDBFailTheBackup(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb("CREATE DATABASE shop; CREATE TABLE shop.t (n int)"))
	base := catalogTask{addon: "mariadb-addon", server: s}
	for _, databases := range []string{"", "shop"} {
		components := base.with("databases", databases, "args", "--xml --skip-dump-history").components(p, false)
		made := p.backsUpInAnyFormat("XML of "+databases, "it is not SQL", components...)
		result := base.with().confirmed().restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), databases)
		t.Log(result.Message)
	}
	base.with("databases", "shop", "args", "--compact").backedUp(p, "bare SQL")

	compressed := p.physical(s, "127.0.0.1", false, map[string]string{"args": "--compress"})
	made := p.backsUpInAnyFormat("files", "uncompressed files", compressed)
	result := p.unpacksMariaDB(made.Components[0].ID, map[string]string{})
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	t.Log(result.Message)
	p.backUp("as it is", p.physical(s, "127.0.0.1", false, map[string]string{"args": "--parallel=2"}))
}
