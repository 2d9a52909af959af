package mover_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Arguments of the client can change how it prints the answer of the probe, and make it print more.
func TestWhatAClientOfMariaDBPrintsIsNoData(t *testing.T) {
	t.Parallel()
	s, p := startMariaDB(t), withSecret(t)
	s.must(s.mariadb(twoDatabases))
	base := catalogTask{addon: "mariadb-addon", server: s}
	one, all := base.with("databases", "shop").backedUp(p, "one"), base.backedUp(p, "all")
	for _, args := range []string{
		"--verbose", "-v", "-vv", "-vvv", "-vvvt", "--table", "-t", "--column-names", "--column-type-info", "--xml",
		"-X", "--html", "-H", "--vertical", "-E", "--tee=/dev/null", "--debug-info", "--show-warnings", "--raw",
	} {
		g := NewWithT(t)
		g.Expect(base.with("args", args).restore(p, one).Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), args)
		s.must(s.mariadb("DROP DATABASE shop; CREATE DATABASE shop"))
		g.Expect(base.with("args", args).restore(p, one).Message).To(BeEmpty(), args)
		g.Expect(s.mariadb("SELECT n FROM shop.t")).To(Equal("1\n"), args)
	}
	g, args := NewWithT(t), base.with("args", "-vvv --tee=/dev/null --xml")
	g.Expect(args.restore(p, all).Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty))
	s.must(s.mariadb("DROP DATABASE shop; DROP DATABASE blog"))
	g.Expect(args.restore(p, all).Message).To(BeEmpty())
	g.Expect(s.mariadb("SELECT n FROM blog.t")).To(Equal("1\n"))
}
