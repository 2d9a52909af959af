// Package install copies the static mover and the certificates it trusts into a database's image.
package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files that Install writes to a directory.
const (
	installedMover        = "mover"
	installedCertificates = "ca-certificates.crt"
)

// certificates lists where images keep their trusted certificates.
var certificates = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/cert.pem",
}

// trustVariable is the environment variable that names the file of trusted certificates for package crypto/x509.
const trustVariable = "SSL_CERT_FILE"

// Install copies this program into a directory, as "mover", with the certificates that it trusts: images of databases
// often have none. Every user can run it there. Install replaces existing files atomically.
func Install(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := copyFile(self, filepath.Join(dir, installedMover), 0o755); err != nil {
		return err
	}
	from := certificates
	if file := os.Getenv(trustVariable); file != "" {
		from = []string{file}
	}
	for _, file := range from {
		if err := copyFile(file, filepath.Join(dir, installedCertificates), 0o644); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// TrustInstalled makes an installed mover trust the certificates that were installed with it. Call it before the
// first connection.
func TrustInstalled() {
	self, err := os.Executable()
	if err != nil || os.Getenv(trustVariable) != "" {
		return
	}
	file := filepath.Join(filepath.Dir(self), installedCertificates)
	if _, err := os.Stat(file); err == nil {
		os.Setenv(trustVariable, file) //nolint:errcheck // its name is valid
	}
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("open the file to install: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(to), ".install-*")
	if err != nil {
		return fmt.Errorf("write to the directory: %v",
			err) //nolint:errorlint // a missing directory must not look like a missing source
	}
	defer func() { _ = os.Remove(out.Name()) }()
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(mode), out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(to), err)
	}
	if err := os.Rename(out.Name(), to); err != nil {
		return fmt.Errorf("put %s in place: %w", filepath.Base(to), err)
	}
	return nil
}
