// Echo server on uWebSockets, to compare with: the native C++ library, no language binding.
//
// Configuration: no compression, no TLS, epoll, TCP_NODELAY (uSockets sets it on every accepted
// socket), keep-alive pings and an idle timeout on (its defaults), messages up to 16 MiB.
// Replies made while the events of one socket are handled leave in one write (its corking).

#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "App.h"

namespace {

struct Arguments {
    std::string host = "127.0.0.1";
    int port = 0;
    int cpu = -1;
};

[[noreturn]] void usage() {
    std::fprintf(stderr, "usage: uwebsockets_echo --listen ADDRESS:PORT [--cpu CORE]\n");
    std::exit(2);
}

Arguments parse(int count, char **values) {
    Arguments arguments;
    for (int index = 1; index < count; index += 2) {
        std::string_view name = values[index];
        if (index + 1 == count) {
            usage();
        }
        std::string value = values[index + 1];
        if (name == "--listen") {
            size_t colon = value.rfind(':');
            if (colon == std::string::npos) {
                usage();
            }
            arguments.host = value.substr(0, colon);
            arguments.port = std::atoi(value.c_str() + colon + 1);
        } else if (name == "--cpu") {
            arguments.cpu = std::atoi(value.c_str());
        } else {
            usage();
        }
    }
    return arguments;
}

void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        std::perror("cannot run on the asked core");
        std::exit(1);
    }
}

struct Nothing {};

}  // namespace

int main(int count, char **values) {
    Arguments arguments = parse(count, values);
    if (arguments.cpu >= 0) {
        pin(arguments.cpu);
    }
    uWS::App()
        .ws<Nothing>("/*", {
            .compression = uWS::DISABLED,
            .maxPayloadLength = 16 * 1024 * 1024,
            .idleTimeout = 120,
            .maxBackpressure = 64 * 1024 * 1024,
            .closeOnBackpressureLimit = false,
            .resetIdleTimeoutOnSend = false,
            .sendPingsAutomatically = true,
            .message = [](auto *socket, std::string_view message, uWS::OpCode code) {
                socket->send(message, code);
            },
        })
        .listen(arguments.host, arguments.port, [&](us_listen_socket_t *listener) {
            if (listener == nullptr) {
                std::fprintf(stderr, "cannot listen on %s:%d: is the port taken?\n",
                             arguments.host.c_str(), arguments.port);
                std::exit(1);
            }
            int port = us_socket_local_port(0, reinterpret_cast<us_socket_t *>(listener));
            std::printf("listening %s:%d\n", arguments.host.c_str(), port);
            std::fflush(stdout);
        })
        .run();
}
