// Publish and subscribe on uWebSockets, to compare with: the native C++ library, no language binding.
//
// Configuration: topics of the library itself (`subscribe`, `App::publish`), which gathers what is
// published while the events of one wake-up are handled and writes it to each subscriber at
// once (its corking). Settings as in its own example Broadcast.cpp: at most 1 MiB unsent per
// subscriber, above which messages to it are left out without a word. No TLS, epoll, TCP_NODELAY
// (uSockets sets it on every accepted socket), no idle timeout.
//
// --compression shared: each message is compressed by itself, for each subscriber; advised
//   for larger JSON. --compression dedicated: the same with a window of 4 KiB kept
//   per subscriber; advised for smaller JSON.
//
// /raw/TOPIC subscribes; with `publish` in the query, what is sent there is published on TOPIC.

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
    uWS::CompressOptions compression = uWS::DISABLED;
};

[[noreturn]] void usage() {
    std::fprintf(stderr, "usage: uwebsockets_fan_out --listen ADDRESS:PORT [--cpu CORE] "
                         "[--compression none|shared|dedicated]\n");
    std::exit(2);
}

uWS::CompressOptions compression_of(std::string_view name) {
    if (name == "none") {
        return uWS::DISABLED;
    }
    if (name == "shared") {
        return uWS::SHARED_COMPRESSOR;
    }
    if (name == "dedicated") {
        return uWS::CompressOptions(uWS::DEDICATED_COMPRESSOR_4KB | uWS::DEDICATED_DECOMPRESSOR);
    }
    usage();
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
        } else if (name == "--compression") {
            arguments.compression = compression_of(value);
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

struct Connection {
    std::string topic;
    bool publishes = false;
};

bool has_member(std::string_view query, std::string_view wanted) {
    while (!query.empty()) {
        size_t end = query.find('&');
        if (query.substr(0, end) == wanted) {
            return true;
        }
        query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    }
    return false;
}

}  // namespace

int main(int count, char **values) {
    Arguments arguments = parse(count, values);
    if (arguments.cpu >= 0) {
        pin(arguments.cpu);
    }
    bool compresses = arguments.compression != uWS::DISABLED;
    uWS::App app;
    app.ws<Connection>("/*", {
            .compression = arguments.compression,
            .maxPayloadLength = 16 * 1024 * 1024,
            .idleTimeout = 0,
            .maxBackpressure = 1024 * 1024,
            .closeOnBackpressureLimit = false,
            .resetIdleTimeoutOnSend = false,
            .sendPingsAutomatically = false,
            .upgrade = [](auto *response, auto *request, auto *context) {
                Connection connection{std::string(request->getUrl()),
                                      has_member(request->getQuery(), "publish")};
                response->template upgrade<Connection>(
                    std::move(connection), request->getHeader("sec-websocket-key"),
                    request->getHeader("sec-websocket-protocol"),
                    request->getHeader("sec-websocket-extensions"), context);
            },
            .open = [](auto *socket) {
                Connection *connection = socket->getUserData();
                if (!connection->publishes) {
                    socket->subscribe(connection->topic);
                }
            },
            .message = [&app, compresses](auto *socket, std::string_view message, uWS::OpCode code) {
                Connection *connection = socket->getUserData();
                if (connection->publishes) {
                    app.publish(connection->topic, message, code, compresses);
                }
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
