package enginetest

import (
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
)

const (
	azureAccount   = "cairntest"
	azureContainer = "backups"
	// AzureGovernment is the endpoint suffix of a second Azure cloud.
	AzureGovernment = "core.usgovcloudapi.net"
)

// azureKey is the key of the account on azurite.
var azureKey = base64.StdEncoding.EncodeToString([]byte("the key of an account that is gone after the test"))

// OnAzure runs test with a container of azurite, Microsoft's emulator, which the variable AZURITE names. To the
// clients, the container is in Azure's own cloud and in AzureGovernment.
func OnAzure(t *testing.T, test func(*testing.T, repository.Azure)) {
	t.Helper()
	container := repository.Azure{
		Account: azureAccount, Container: azureContainer, Key: azureKey, Egress: egress.Anywhere(),
	}
	if os.Getenv(standInside) != "" {
		makeContainer(t, container)
		test(t, container)
		return
	}
	bin := os.Getenv("AZURITE")
	if bin == "" {
		t.Skip("no Azure: run `npm install azurite@3.35.0` in an empty directory, and set AZURITE to its " +
			"node_modules/.bin/azurite-blob")
	}
	names := []string{azureAccount + "." + container.Domain(), azureAccount + ".blob." + AzureGovernment}
	cert, key, _ := Certificate(t, names...)
	standIn(t, startAzurite(t, bin, cert, key), cert, names)
}

// startAzurite starts azurite, which stops with the test, and returns its address.
func startAzurite(t *testing.T, bin, cert, key string) string {
	t.Helper()
	addr := UnusedAddress(t)
	address, port := addr.String(), strconv.Itoa(addr.Port)
	cmd := exec.Command(bin, "--blobHost", "127.0.0.1", "--blobPort", port, "--location", t.TempDir(), "--silent",
		"--disableTelemetry",
		"--skipApiVersionCheck", "--cert", cert, "--key", key)
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+azureAccount+":"+azureKey)
	startServer(t, cmd, address)
	return address
}

func makeContainer(t *testing.T, o repository.Azure) {
	t.Helper()
	g := NewWithT(t)
	key, err := azblob.NewSharedKeyCredential(o.Account, o.Key)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := azblob.NewClientWithSharedKeyCredential("https://"+o.Account+"."+o.Domain()+"/", key, nil)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	_, err = client.CreateContainer(ctx, o.Container, nil)
	g.Expect(err).NotTo(HaveOccurred())
}
