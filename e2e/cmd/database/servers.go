package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// postgresql listens at its usual port. With certificates, only encrypted connections come in from elsewhere. In its
// container nobody needs a password.
var postgresql = server{
	marker: "postgresql",
	initialise: func(a account, dir string) error {
		initdb, err := find("/usr/lib/postgresql/*/bin/initdb")
		if err != nil {
			return err
		}
		if err := output(exec.Command(initdb, "--pgdata="+dir, "--username="+a.username,
			"--pwfile="+filepath.Join(auth, "password"),
			"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
			"--no-sync")); err != nil {
			return err
		}
		return os.Remove(filepath.Join(dir, "pg_hba.conf"))
	},
	command: func(_ account, encrypted bool) ([]string, error) {
		postgres, err := find("/usr/lib/postgresql/*/bin/postgres")
		if err != nil {
			return nil, err
		}
		kind, hba := "host", filepath.Join(scratch, "pg_hba.conf")
		args := []string{
			postgres, "-D", filepath.Join(data, "postgresql"), "-c", "listen_addresses=*", "-c", "hba_file=" + hba,
			"-c", "unix_socket_directories=" + scratch,
		}
		if encrypted {
			kind = "hostssl"
			args = append(args, "-c", "ssl=on", "-c", "ssl_cert_file="+filepath.Join(tlsDir, "tls.crt"), "-c",
				"ssl_key_file="+filepath.Join(tlsDir, "tls.key"))
		}
		rules := "local all all trust\n" + kind + " all all all scram-sha-256\n" + kind +
			" replication all all scram-sha-256\n"
		return args, os.WriteFile(hba, []byte(rules), 0o600)
	},
}

// mariadb gives its user all rights, from anywhere. At each start the user gets the Secret's password. In its container
// the container's own user needs no password.
var mariadb = server{
	marker: "mariadb",
	initialise: func(_ account, dir string) error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		sql := []io.Reader{
			strings.NewReader("create database if not exists mysql;\nuse mysql;\nSET @auth_root_socket='nonroot';\n"),
		}
		for _, name := range []string{
			"mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data", "maria_add_gis_sp_bootstrap",
			"mysql_sys_schema",
		} {
			script, err := os.Open(filepath.Join("/usr/share/mysql", name+".sql"))
			if err != nil {
				return err
			}
			defer func() { _ = script.Close() }()
			sql = append(sql, script, strings.NewReader("\n"))
		}
		bootstrap := exec.Command(mariadbd, append(mariadbOptions(dir), "--bootstrap", "--skip-log-bin")...)
		bootstrap.Stdin = io.MultiReader(sql...)
		return output(bootstrap)
	},
	command: func(a account, encrypted bool) ([]string, error) {
		first := filepath.Join(scratch, "first.sql")
		user := quote(a.username) + "@'%'"
		sql := "CREATE USER IF NOT EXISTS " + user + ";\n" +
			"ALTER USER " + user + " IDENTIFIED BY " + quote(a.password) + ";\n" +
			"GRANT ALL PRIVILEGES ON *.* TO " + user + " WITH GRANT OPTION;\n"
		args := append([]string{mariadbd}, mariadbOptions(filepath.Join(data, "mariadb"))...)
		args = append(args, "--init-file="+first, "--bind-address=*", "--skip-name-resolve",
			"--socket="+filepath.Join(scratch, "mysqld.sock"))
		if encrypted {
			args = append(args, "--ssl-cert="+filepath.Join(tlsDir, "tls.crt"),
				"--ssl-key="+filepath.Join(tlsDir, "tls.key"), "--require-secure-transport=ON")
		}
		return args, os.WriteFile(first, []byte(sql), 0o600)
	},
}

const mariadbd = "/usr/sbin/mariadbd"

func mariadbOptions(dir string) []string {
	return []string{
		"--no-defaults", "--basedir=/usr", "--datadir=" + dir, "--tmpdir=" + scratch,
		"--pid-file=" + filepath.Join(scratch, "mysqld.pid"),
		"--character-set-server=utf8mb4", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
	}
}

// quote makes a literal of SQL.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// redis saves to the volume when it stops, and as often as its default says. It knows only the hash of its user's
// password.
var redis = server{
	command: func(a account, encrypted bool) ([]string, error) {
		conf := filepath.Join(scratch, "redis.conf")
		lines := []string{
			"bind * -::*", "dir " + data, "protected-mode no", "enable-debug-command local",
			fmt.Sprintf("user %s on #%x ~* &* +@all", a.username, sha256.Sum256([]byte(a.password))),
		}
		if a.username != "default" {
			lines = append(lines, "user default off")
		}
		if encrypted {
			lines = append(lines, "port 0", "tls-port 6379", "tls-auth-clients no",
				"tls-cert-file "+filepath.Join(tlsDir, "tls.crt"), "tls-key-file "+filepath.Join(tlsDir, "tls.key"))
		}
		return []string{"/usr/bin/redis-server", conf},
			os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	},
}

// find is the program of the only version that an image has.
func find(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("look for %s: %d there", pattern, len(found))
	}
	return found[0], nil
}
