package mover_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// physical returns a component of one of mariadb-addon's tasks for the server's files.
func (p *pod) physical(s *databaseServer, host string, restore bool, params map[string]string) task.Component {
	p.t.Helper()
	g := NewWithT(p.t)
	addons, functions := shipped()
	lookup := func(name string) *v1alpha1.Function { return functions[name] }
	text := must(json.Marshal(params))
	info := v1alpha1.AddonInfo{
		Name:  "mariadb-addon",
		Tasks: []v1alpha1.TaskReference{{Name: "physical-backup", Params: &apiextensionsv1.JSON{Raw: text}}},
	}
	if restore {
		info.Tasks[0].Name = "physical-backup-restore"
		vars := catalog.Variables{MoverImage: "mover", TargetKind: "PersistentVolumeClaim", TargetName: "data"}
		resolved, _, refusal := catalog.Resolve(addons[info.Name], lookup, info, true, vars)
		g.Expect(refusal).To(BeNil(), "%+v", refusal)
		g.Expect(resolved).To(And(HaveField("Image", "the server's"), HaveField("MoverImage", "mover")))
		stream, refusal := catalog.Unpacker(addons[info.Name], lookup, info, vars)
		g.Expect(refusal).To(BeNil(), "%+v", refusal)
		return task.Component{Name: "dump", Stream: p.here(stream)}
	}
	vars := catalog.Variables{MoverImage: "mover", TargetImage: "database", TargetHost: host, TargetPort: s.port}
	streams, refusal := catalog.Streams(addons[info.Name], lookup, info, false, vars, nil)
	g.Expect(refusal).To(BeNil(), "%+v", refusal)
	g.Expect(streams).To(HaveLen(1))
	g.Expect(streams[0].Stream.DataDirectory).To(Equal("/var/lib/mysql"))
	// A Job sees the files where the server's container has them.
	data := filepath.Join(p.root, streams[0].Stream.DataDirectory)
	g.Expect(os.RemoveAll(data)).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Dir(data), 0o755)).To(Succeed())
	g.Expect(os.Symlink(filepath.Join(s.dir, "data"), data)).To(Succeed())
	return task.Component{Name: "dump", Stream: p.here(streams[0].Stream)}
}

// unpacksMariaDB restores into the directory data of an empty volume, and gives it to the user that servers run as.
func (p *pod) unpacksMariaDB(id string, params map[string]string) *task.Result {
	p.t.Helper()
	g := NewWithT(p.t)
	g.Expect(os.RemoveAll(p.in("."))).To(Succeed())
	params["image"] = "the server's"
	c := p.physical(nil, "", true, params)
	c.ID = id
	result := p.unpacks(id, mover.Flags{Unpack: "data"}, func(t *task.Task) { t.Components = []task.Component{c} })
	// the test's own directories let no other user in
	for dir := p.in("."); dir != filepath.Dir(filepath.Dir(p.root)); dir = filepath.Dir(dir) {
		g.Expect(os.Chmod(dir, 0o755)).To(Succeed())
	}
	g.Expect(filepath.WalkDir(p.in("data"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || os.Geteuid() != 0 {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	})).To(Succeed())
	return result
}

// TestAMariaDBServerStartsFromItsPhysicalBackup goes the whole way: a server that is written to is backed up with its
// files, they are prepared in another volume, and a server that starts on them has the rows.
func TestAMariaDBServerStartsFromItsPhysicalBackup(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startMariaDB(t), withSecret(t)
	p.isolated()
	s.must(s.mariadb(mariadbTables +
		`CREATE TABLE log (n int); CREATE TABLE aria (n int) ENGINE = Aria; INSERT INTO aria VALUES (1), (2); CREATE TABLE mine (n int) ENGINE = MyISAM; INSERT INTO mine VALUES (3);
		CREATE USER clerk IDENTIFIED BY 'of the clerk'; GRANT SELECT ON shop.* TO clerk`))
	const sum = "USE shop; SET group_concat_max_len = 100000000; SELECT count(*), " +
		"md5(group_concat(concat_ws('|', id, " +
		"name, hex(photo), price, born, note) ORDER BY id)) FROM people; SELECT f(); SELECT count(*) FROM old; " +
		"SELECT sum(n) FROM aria; SELECT n FROM mine; SHOW GRANTS FOR clerk"
	before := s.must(s.mariadb(sum))

	// Rows are written all the time. The backup has the rows from before it, and none of them half.
	first := true
	p.reports.told = func() {
		if first {
			first = false
			s.must(s.mariadb("USE shop; INSERT INTO log SELECT seq FROM seq_1_to_20000"))
		}
	}
	id := p.backUp("snap-1", p.physical(s, "127.0.0.1", false, nil))
	p.reports.told = nil
	p.secretIsNowhere(accountPassword, strings.ReplaceAll(accountPassword, `\`, `\\`))
	s.must(s.mariadb("DROP DATABASE shop"))

	result := p.unpacksMariaDB(id, map[string]string{"args": "--use-memory=64M"})
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(result.Components[0].Files).To(BeNumerically(">", 50))
	copied := newServer(t)
	copied.startMariaDBOn(p.in("data"))
	g.Expect(copied.mariadb(sum)).To(Equal(before))
	g.Expect(copied.must(copied.mariadb("SELECT count(*) FROM shop.log"))).To(BeElementOf("0\n", "20000\n"))
	// it is a server like any other
	copied.must(copied.mariadb(
		"CHECK TABLE shop.people, shop.log, shop.aria, shop.mine; INSERT INTO shop.log VALUES (1)"))
	copied.kill()

	// A stream that is no such backup ends badly.
	result = p.unpacksMariaDB(p.archived("other", []byte("CREATE TABLE a (x int);\n")), map[string]string{})
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).To(HavePrefix("mbstream ended with exit code 1"))
	result = p.unpacksMariaDB(id, map[string]string{"args": "--no-such-option"})
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).To(HavePrefix("mariadb-backup ended with exit code"))
}

func TestAMariaDBPhysicalBackupThatCannotBe(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startMariaDB(t), withSecret(t)
	s.must(s.mariadb("CREATE DATABASE shop; USE shop; CREATE TABLE large (id int PRIMARY KEY, x mediumtext); CREATE " +
		"USER reader IDENTIFIED BY 'sesame-123'"))
	for range 4 {
		s.must(s.mariadb("USE shop; INSERT INTO large SELECT coalesce(max(id), 0) + 1, '" + filler(3_000_000) +
			"' FROM large"))
	}
	fails := func(snapshot, message string, c task.Component) {
		t.Helper()
		_, result := p.run(t.Context(), backupTask(snapshot, c))
		g.Expect(result.Reason).To(BeElementOf(v1alpha1.ReasonDumpFailed, v1alpha1.ReasonPathNotFound))
		g.Expect(result.Message).To(ContainSubstring(message))
		g.Expect(result.Components[0].ID).To(BeEmpty())
		t.Log(result.Message)
	}
	component := func() task.Component { return p.physical(s, "127.0.0.1", false, nil) }
	elsewhere := component()
	elsewhere.Stream.DataDirectory = "/var/lib/absent"
	fails("absent", "the server's directory /var/lib/absent is empty or missing", elsewhere)

	p.login("username", "reader", "password", "sesame-123")
	fails("rights", "mariadb-backup ended with exit code 1", component())
	s.must(s.mariadb("GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO reader"))
	p.backUp("enough", component())

	slow := p.physical(s, "127.0.0.1", false, map[string]string{"args": "--throttle=1"})
	busy := func() (string, error) {
		return s.mariadb("SELECT count(*) > 0 FROM information_schema.processlist WHERE user = 'reader'")
	}
	p.breaksOff("mariadb-backup", slow, busy, map[string]func(){
		"the program is killed":         func() { p.killChild("mariadb-backup") },
		"the server is killed, at last": s.kill,
	})
}

func TestAMariaDBPhysicalBackupOverTLS(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	ours, other := newAuthority(t, "ours"), newAuthority(t, "another")
	dir := ours.server()
	s, p := startMariaDB(t, "--ssl-ca="+dir+"/ca.crt", "--ssl-cert="+dir+"/tls.crt", "--ssl-key="+dir+"/tls.key"),
		withSecret(t)
	s.must(
		s.mariadb("CREATE USER sealed IDENTIFIED BY 'word of sealed' REQUIRE SSL; GRANT ALL PRIVILEGES ON *.* " +
			"TO sealed"))
	for name, try := range map[string]struct{ host, ca, says string }{
		"the server's own name":  {"localhost", ours.pem, ""},
		"another name":           {"127.0.0.1", ours.pem, "SSL connection error"},
		"another authority":      {"localhost", other.pem, "SSL connection error"},
		"nothing to be verified": {"127.0.0.1", "", ""},
	} {
		p.login("username", "sealed", "password", "word of sealed")
		if try.ca != "" {
			p.login("username", "sealed", "password", "word of sealed", "ca.crt", try.ca)
		}
		_, result := p.run(t.Context(),
			backupTask(name, p.physical(s, try.host, false, map[string]string{"args": "--protocol=tcp"})))
		if try.says == "" {
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "%s: %s", name, result.Message)
			continue
		}
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed), name)
		g.Expect(result.Message).To(ContainSubstring(try.says), name)
	}
}
