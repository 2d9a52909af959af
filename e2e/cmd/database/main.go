// Command database is the entry point of the testbed's database servers: it initialises the data directory where it is
// empty, with the user that a mounted Secret names, and becomes the server. It runs as any user. No password is in an
// argument or in the environment: servers read passwords from files.
//
//	database postgresql|mariadb|redis
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Directories of the container.
const (
	data    = "/data" // the volume
	auth    = "/auth" // the Secret with username and password
	tlsDir  = "/tls"  // the Secret with tls.crt, tls.key; without it connections are not encrypted
	scratch = "/tmp"
)

// server is what a database needs.
type server struct {
	// marker is the path below data that exists once the server is initialised.
	marker string
	// initialise makes the directory that becomes marker.
	initialise func(a account, dir string) error
	// command of the server. It can write files below scratch.
	command func(a account, encrypted bool) ([]string, error)
}

// account is the user that the Secret names.
type account struct{ username, password string }

func main() {
	log.SetFlags(0)
	log.SetPrefix("database: ")
	servers := map[string]server{"postgresql": postgresql, "mariadb": mariadb, "redis": redis}
	if len(os.Args) != 2 || servers[os.Args[1]].command == nil {
		log.Fatalln("usage: database postgresql|mariadb|redis")
	}
	log.Fatalln(servers[os.Args[1]].run())
}

// run returns only an error.
func (s server) run() error {
	a, err := readAccount()
	if err != nil {
		return err
	}
	if err := s.ensure(a); err != nil {
		return fmt.Errorf("initialise the data directory: %w", err)
	}
	_, missing := os.Stat(filepath.Join(tlsDir, "tls.key"))
	command, err := s.command(a, missing == nil)
	if err != nil {
		return fmt.Errorf("prepare the server: %w", err)
	}
	return fmt.Errorf("start %s: %w", command[0], syscall.Exec(command[0], command, os.Environ()))
}

// ensure initialises the volume, whole or not at all: a restart in the middle begins again.
func (s server) ensure(a account) error {
	if s.initialise == nil {
		return nil
	}
	whole := filepath.Join(data, s.marker)
	if _, err := os.Stat(whole); err == nil {
		// A pod's fsGroup gives its group access to the directory, and PostgreSQL refuses to start then.
		return os.Chmod(whole, 0o700)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	half := whole + ".new"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := s.initialise(a, half); err != nil {
		return err
	}
	return os.Rename(half, whole)
}

func readAccount() (account, error) {
	username, err := os.ReadFile(filepath.Join(auth, "username"))
	if err != nil {
		return account{}, fmt.Errorf("read the Secret: %w", err)
	}
	password, err := os.ReadFile(filepath.Join(auth, "password"))
	if err != nil {
		return account{}, fmt.Errorf("read the Secret: %w", err)
	}
	a := account{string(username), string(password)}
	if a.username == "" || a.password == "" || strings.ContainsAny(a.username+a.password, "\n\x00") {
		return account{}, errors.New("read the Secret: username and password must be there, of one line each")
	}
	return a, nil
}

// output runs a program whose output is of interest only when it fails.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", filepath.Base(cmd.Path), err, out)
	}
	return nil
}
