package mover_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// login is an account, and the expected result of a connection.
type login struct {
	task   catalogTask
	secret []string
	says   string // empty where the connection is made
}

// logins tries each account: a backup, and the restore of an earlier backup.
func logins(t *testing.T, p *pod, tries map[string]login) {
	made := backUpFirst(t, p, tries)
	for name, try := range tries {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p.login(try.secret...)
			backup, restore := try.task.backup(p, name), try.task.confirmed().restore(p, made[try.task.addon])
			if try.says == "" {
				g.Expect(backup.Reason).To(Equal(v1alpha1.ReasonSucceeded), backup.Message)
				g.Expect(restore.Reason).To(Equal(v1alpha1.ReasonSucceeded), restore.Message)
				return
			}
			g.Expect(backup.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
			g.Expect(backup.Message).To(ContainSubstring(try.says))
			g.Expect(restore.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
			g.Expect(restore.Message).To(ContainSubstring(try.says))
			probed := try.task.restore(p, made[try.task.addon])
			g.Expect(probed.Reason).To(Equal(v1alpha1.ReasonLoadFailed), "the database can't be asked either")
		})
	}
}

// backUpFirst returns a backup to restore.
func backUpFirst(t *testing.T, p *pod, tries map[string]login) map[string]*task.Result {
	t.Helper()
	for name, try := range tries {
		if try.says == "" {
			p.login(try.secret...)
			return map[string]*task.Result{try.task.addon: try.task.backedUp(p, "first of "+name)}
		}
	}
	t.Fatal("nobody may log in")
	return nil
}

func TestPostgreSQLTasksOverTLS(t *testing.T) {
	t.Parallel()
	ours, other := newAuthority(t, "ours"), newAuthority(t, "another")
	dir := ours.server()
	NewWithT(t).Expect(os.WriteFile(filepath.Join(dir, "hba"), []byte(
		"host all app all scram-sha-256\nhostssl all sealed all scram-sha-256\nhostssl all certified all cert\n"),
		0o644)).To(Succeed())
	s := startPostgreSQL(t, "-c", "ssl=on", "-c", "ssl_ca_file="+dir+"/ca.crt", "-c", "ssl_cert_file="+dir+"/tls.crt",
		"-c", "ssl_key_file="+dir+"/tls.key", "-c", "hba_file="+dir+"/hba")
	s.must(s.psql("postgres", "CREATE ROLE sealed SUPERUSER LOGIN PASSWORD 'word of sealed'; CREATE ROLE certified "+
		"SUPERUSER LOGIN; CREATE DATABASE shop"))
	s.must(s.psql("shop", postgresTables))
	cert, key := ours.client("certified")
	foreignCert, foreignKey := other.client("certified")
	base := catalogTask{addon: "postgres-addon", server: s, host: "localhost"}.with("databases", "shop")
	with := func(params ...string) catalogTask { return base.with(append(params, "databases", "shop")...) }
	elsewhere := func(c catalogTask) catalogTask { c.host = "127.0.0.1"; return c }
	sealed := []string{"username", "sealed", "password", "word of sealed"}
	trusting := append(sealed[:4:4], "ca.crt", ours.pem)

	logins(t, withSecret(t), map[string]login{
		"encrypted, as far as that goes": {task: base, secret: sealed},
		"verified by default with a CA":  {task: base, secret: trusting},
		"another authority": {
			base, append(sealed[:4:4], "ca.crt", other.pem), "certificate verify failed",
		},
		"another name":                     {elsewhere(base), trusting, `does not match host name "127.0.0.1"`},
		"another name, which is asked for": {task: elsewhere(with("sslMode", "verify-ca")), secret: trusting},
		"another authority, not looked at": {
			with("sslMode", "require"), append(sealed[:4:4], "ca.crt", other.pem),
			"certificate verify failed",
		},
		"no encryption": {
			with("sslMode", "disable"), sealed,
			`user "sealed", database "shop", no encryption`,
		},
		"verification without a CA": {with("sslMode", "verify-full"), sealed, "root certificate file"},
		"a certificate instead of password": {
			task: base, secret: []string{"username", "certified", "ca.crt", ours.pem, "tls.crt", cert, "tls.key", key},
		},
		"no certificate": {
			base,
			[]string{"username", "certified", "password", "x", "ca.crt", ours.pem},
			"connection requires a valid client certificate",
		},
		"a certificate of another authority": {
			base,
			[]string{"username", "certified", "ca.crt", ours.pem, "tls.crt", foreignCert, "tls.key", foreignKey},
			"unknown ca",
		},
	})
}

func TestMariaDBTasksOverTLS(t *testing.T) {
	t.Parallel()
	ours, other := newAuthority(t, "ours"), newAuthority(t, "another")
	dir := ours.server()
	s := startMariaDB(t, "--ssl-ca="+dir+"/ca.crt", "--ssl-cert="+dir+"/tls.crt", "--ssl-key="+dir+"/tls.key")
	s.must(s.mariadb(mariadbTables + `
		CREATE USER sealed IDENTIFIED BY 'word of sealed' REQUIRE SSL; GRANT ALL PRIVILEGES ON *.* TO sealed;
		CREATE USER certified IDENTIFIED BY 'word of certified' REQUIRE SUBJECT '/CN=certified'; GRANT ALL PRIVILEGES ON *.* TO certified`))
	cert, key := ours.client("certified")
	foreignCert, foreignKey := other.client("certified")
	// For the host localhost, the client would take the Unix socket.
	base := catalogTask{addon: "mariadb-addon", server: s, host: "localhost"}.with("databases", "shop", "args",
		"--protocol=tcp", "probeArgs", "--protocol=tcp")
	elsewhere := base
	elsewhere.host = "127.0.0.1"
	sealed, certified := []string{"username", "sealed", "password", "word of sealed"}, []string{
		"username", "certified",
		"password", "word of certified",
	}
	trusting := append(sealed[:4:4], "ca.crt", ours.pem)

	logins(t, withSecret(t), map[string]login{
		"verified with a CA": {task: base, secret: trusting},
		"no encryption": {
			base.with("databases", "shop", "args", "--protocol=tcp --skip-ssl", "probeArgs", "--protocol=tcp"), sealed,
			"Access denied",
		},
		"another name":      {elsewhere, trusting, "TLS/SSL error"},
		"another authority": {base, append(sealed[:4:4], "ca.crt", other.pem), "TLS/SSL error"},
		"a certificate": {
			task: base, secret: append(certified[:4:4], "ca.crt", ours.pem, "tls.crt", cert, "tls.key", key),
		},
		"no certificate": {base, append(certified[:4:4], "ca.crt", ours.pem), "Access denied"},
		"a certificate of another authority": {
			base, append(certified[:4:4], "ca.crt", ours.pem, "tls.crt", foreignCert, "tls.key", foreignKey), "mariadb",
		},
	})
}

func TestRedisTasksOverTLS(t *testing.T) {
	t.Parallel()
	ours, other := newAuthority(t, "ours"), newAuthority(t, "another")
	dir, port := ours.server(), unusedPort(t)
	s := startRedis(t, "--tls-port", port, "--tls-ca-cert-file", dir+"/ca.crt", "--tls-cert-file", dir+"/tls.crt",
		"--tls-key-file", dir+"/tls.key", "--tls-auth-clients", "yes")
	s.must(s.redis("SET", "a", "b"))
	cert, key := ours.client("certified")
	foreignCert, foreignKey := other.client("certified")
	sealed := *s
	sealed.port = port
	base := catalogTask{addon: "redis-addon", server: &sealed, host: "localhost"}
	elsewhere := base
	elsewhere.host = "127.0.0.1"
	plain := base
	plain.server = s
	certified := []string{"password", "hunter2secret", "tls.crt", cert, "tls.key", key}

	p := withSecret(t)
	p.mover.ProbeTimeout = 10 * time.Second
	logins(t, p, map[string]login{
		"verified with a CA": {task: base, secret: append(certified[:6:6], "ca.crt", ours.pem)},
		// waits or, where the server takes a byte for the end of a line, is told so
		"a port without TLS":                {plain, append(certified[:6:6], "ca.crt", ours.pem), "redis-cli"},
		"a CA that the arguments leave out": {task: base.with("args", "--tls --insecure"), secret: certified},
		"another authority": {
			base, append(certified[:6:6], "ca.crt", other.pem),
			"certificate verify failed",
		},
		"another name, unseen by redis-cli": {task: elsewhere, secret: append(certified[:6:6], "ca.crt", ours.pem)},
		"no certificate": {
			base,
			[]string{"password", "hunter2secret", "ca.crt", ours.pem},
			"redis-cli ended with exit code 1",
		},
		"a certificate of another authority": {
			base,
			[]string{"password", "hunter2secret", "ca.crt", ours.pem, "tls.crt", foreignCert, "tls.key", foreignKey},
			"redis-cli ended with exit code 1",
		},
	})
}
