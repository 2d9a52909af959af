package mover_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

// unpacked is the environment variable that names the directory where hack/databases put real servers and clients.
const unpacked = "CAIRN_DATABASES"

// The account of the databases of the tests. The password contains characters that are special in shells, password
// files and option files.
const (
	account         = "app"
	accountPassword = `p:a\s"s#w'o rd;$(id)`
)

// databaseProgram finds a program of a database: the one that hack/databases unpacked, else the machine's own.
func databaseProgram(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv(unpacked); dir != "" {
		return filepath.Join(dir, "bin", name)
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/"} {
		if found, _ := filepath.Glob(pattern + name); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("there is no program %s: run make test on Debian or Ubuntu, or set %s to what hack/databases prints", name,
		unpacked)
	return ""
}

// databaseServer is a real server on a port of this machine.
type databaseServer struct {
	t    testing.TB
	dir  string
	port string
	// password of the account.
	password string
	cmd      *exec.Cmd
	said     bytes.Buffer
	kill     func()
}

// newServer makes a directory for a server, which must not run as root.
func newServer(t testing.TB) *databaseServer {
	t.Helper()
	g := NewWithT(t)
	dir, err := os.MkdirTemp("", "cairn-database-")
	g.Expect(err).NotTo(HaveOccurred())
	s := &databaseServer{t: t, dir: dir, port: unusedPort(t), password: accountPassword, kill: func() {}}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the server said: %s", s.said.Bytes()[max(0, s.said.Len()-2000):])
		}
		_ = os.RemoveAll(dir)
	})
	if os.Geteuid() == 0 {
		g.Expect(os.Chown(dir, 65534, 65534)).To(Succeed())
	}
	return s
}

// unusedPort returns a port that no other test gets.
func unusedPort(t testing.TB) string { return fmt.Sprint(enginetest.UnusedAddress(t).Port) }

// command returns a command of the server's side.
func (s *databaseServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(databaseProgram(s.t, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir, "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	return cmd
}

// prepare runs a program before the server starts.
func (s *databaseServer) prepare(stdin, name string, args ...string) {
	s.t.Helper()
	cmd := s.command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred(), string(out))
}

// start starts the server and waits until ready returns nothing. kill ends the server, at the latest with the test.
func (s *databaseServer) start(ready func() error, name string, args ...string) {
	s.t.Helper()
	g := NewWithT(s.t)
	s.cmd = s.command(name, args...)
	s.cmd.SysProcAttr.Setpgid = true
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	g.Expect(s.cmd.Start()).To(Succeed())
	s.kill = sync.OnceFunc(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		_ = s.cmd.Wait()
	})
	g.Eventually(ready).WithTimeout(2*time.Minute).WithPolling(50*time.Millisecond).
		Should(Succeed(), "the server starts")
}

// client runs a client's program and returns its output.
func (s *databaseServer) client(env []string, stdin, name string, args ...string) (string, error) {
	s.t.Helper()
	cmd := exec.Command(databaseProgram(s.t, name), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C"}, env...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", name, err, stderr.String())
	}
	return string(out), nil
}

// must is client for a program that must succeed.
func (s *databaseServer) must(out string, err error) string {
	s.t.Helper()
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	return out
}

// startPostgreSQL creates and starts a server with one account.
func startPostgreSQL(t testing.TB, options ...string) *databaseServer {
	s := newServer(t)
	password, data := filepath.Join(s.dir, "password"), filepath.Join(s.dir, "data")
	NewWithT(t).Expect(os.WriteFile(password, []byte(accountPassword), 0o644)).To(Succeed())
	s.prepare("", "initdb", "--pgdata="+data, "--username="+account, "--pwfile="+password, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-sync")
	s.startOn(data, options...)
	return s
}

// startOn starts a PostgreSQL server on a directory with its data.
func (s *databaseServer) startOn(data string, options ...string) {
	s.t.Helper()
	s.start(func() error { _, err := s.psql("postgres", "SELECT 1"); return err }, "postgres", append([]string{
		"-D", data,
		"-c", "listen_addresses=127.0.0.1", "-c", "port=" + s.port, "-c", "unix_socket_directories=", "-c", "fsync=off",
	},
		options...)...)
}

// psql runs statements.
func (s *databaseServer) psql(database, statements string) (string, error) {
	s.t.Helper()
	return s.client([]string{"PGPASSWORD=" + s.password}, statements, "psql", "--no-psqlrc", "--quiet",
		"--tuples-only", "--no-align",
		"--set=ON_ERROR_STOP=1", "--host=127.0.0.1", "--port="+s.port, "--username="+account, "--dbname="+database)
}

// startMariaDB creates and starts a server with one account.
func startMariaDB(t testing.TB, more ...string) *databaseServer {
	s := newServer(t)
	data, first := filepath.Join(s.dir, "data"), filepath.Join(s.dir, "first.sql")
	program := databaseProgram(t, "mariadbd")
	sql := "create database if not exists mysql;\nuse mysql;\nSET @auth_root_socket='nobody';\n"
	for _, name := range []string{"mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data"} {
		script, err := os.ReadFile(filepath.Join(mariadbShare(), name+".sql"))
		if err != nil {
			t.Skipf("%s has no system tables for MariaDB: %v", program, err)
		}
		sql += string(script) + "\n"
	}
	g := NewWithT(t)
	g.Expect(os.Mkdir(data, 0o700)).To(Succeed())
	if os.Geteuid() == 0 {
		g.Expect(os.Chown(data, 65534, 65534)).To(Succeed())
	}
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(accountPassword)
	g.Expect(
		os.WriteFile(
			first, []byte("CREATE USER app@'%' IDENTIFIED BY '"+quoted+
				"';\nGRANT ALL PRIVILEGES ON *.* TO app@'%' WITH GRANT OPTION;\n"), 0o644)).To(Succeed())
	s.prepare(sql, "mariadbd", append(s.mariadbOptions(data), "--bootstrap", "--skip-log-bin")...)
	s.startMariaDBOn(data, append(more, "--init-file="+first)...)
	return s
}

// mariadbShare is the directory of MariaDB's scripts and messages.
func mariadbShare() string {
	if dir := os.Getenv(unpacked); dir != "" {
		return filepath.Join(dir, "root/usr/share/mysql")
	}
	return "/usr/share/mysql"
}

func (s *databaseServer) mariadbOptions(data string) []string {
	share := mariadbShare()
	return []string{
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + s.dir, "--lc-messages-dir=" + share,
		"--character-sets-dir=" + filepath.Join(share, "charsets"),
		"--pid-file=" + filepath.Join(s.dir, "pid"), "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M",
		"--innodb-flush-log-at-trx-commit=0", "--plugin-dir=" + s.dir,
	}
}

// startMariaDBOn starts a MariaDB server on a directory with its data.
func (s *databaseServer) startMariaDBOn(data string, more ...string) {
	s.t.Helper()
	options := append(s.mariadbOptions(data), "--bind-address=127.0.0.1", "--port="+s.port, "--skip-name-resolve",
		"--socket="+filepath.Join(s.dir, "s"))
	s.start(func() error { _, err := s.mariadb("SELECT 1"); return err }, "mariadbd", append(options, more...)...)
}

// mariadb runs statements.
func (s *databaseServer) mariadb(statements string) (string, error) {
	s.t.Helper()
	return s.client([]string{"MYSQL_PWD=" + s.password}, statements, "mariadb", "--no-defaults", "--batch",
		"--skip-column-names",
		"--default-character-set=utf8mb4", "--host=127.0.0.1", "--port="+s.port, "--user="+account)
}

// startRedis starts an empty server.
func startRedis(t testing.TB, options ...string) *databaseServer {
	s := newServer(t)
	s.start(func() error { _, err := s.redis("PING"); return err }, "redis-server",
		append([]string{
			"--bind", "127.0.0.1", "--port", s.port,
			"--dir", s.dir, "--save", "", "--enable-debug-command", "local", "--databases", "20", "--requirepass",
			"hunter2secret", "--repl-diskless-sync-delay", "0",
		}, options...)...)
	return s
}

// redis runs one command.
func (s *databaseServer) redis(args ...string) (string, error) {
	s.t.Helper()
	return s.client([]string{"REDISCLI_AUTH=hunter2secret"}, "", "redis-cli",
		append([]string{"-e", "-p", s.port}, args...)...)
}
