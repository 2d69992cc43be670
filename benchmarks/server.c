/* A model server for benchmarks: prepared frames, one HTTP chunk each, as fast or as slowly as asked.
 *
 *   server FRAMES TAIL COUNT GROUP RATE [CERT KEY]
 *
 * FRAMES is a file of frames, each after its length (32 bits, little-endian); they are sent again
 * and again until COUNT frames are out, GROUP frames in one HTTP chunk, RATE chunks per second and
 * stream (0: as fast as the socket takes them).  Then comes TAIL, whole, in a chunk of its own,
 * and the end of the body.  With CERT and KEY it speaks TLS, one record a chunk, and has a thread
 * for each connection; RATE is then ignored.
 *
 * It prints its port on one line, listens on the loopback only, and ends when its standard input
 * does, or its parent dies.  On the way out it prints what it did: chunks sent, how many of them
 * were later than 50 ms, the most streams at a time, and its processor seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#define MOST_CONNECTIONS 16384
#define REQUEST_BYTES 65536
#define RING_BYTES (4 * 1024 * 1024)
#define BURST_BYTES (256 * 1024)
#define LATE_SECONDS 0.05

typedef struct connection {
    int fd, streaming, waits_for_room;
    char *request;              /* what has come of the request */
    size_t have;
    uint64_t head_sent;         /* bytes of the response head that are out */
    uint64_t target, sent;      /* bytes of frames, then of the tail */
    uint64_t chunks;            /* that may have been sent by now */
    double began;
} connection;

static char *ring, *tail, *head;
static uint64_t *offset, groups, ring_len, tail_len, head_len, total_chunks;
static double rate;
static connection *all[MOST_CONNECTIONS];
static int streaming_now, streaming_most, poller, top_fd;
static uint64_t chunks_out, chunks_late, requests;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) { perror(what); exit(2); }

static char *load(const char *path, uint64_t *len) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    fseek(file, 0, SEEK_END);
    *len = (uint64_t)ftell(file);
    rewind(file);
    char *data = malloc(*len + 1);
    if (fread(data, 1, *len, file) != *len) die(path);
    fclose(file);
    return data;
}

/* Frames to chunks: as many whole rounds of the file as fill the ring, GROUP frames a chunk. */
static void build(const char *path, int group) {
    uint64_t len, count = 0, at;
    char *raw = load(path, &len);
    for (at = 0; at < len; count++) at += 4 + *(uint32_t *)(raw + at);
    char **frame = malloc(count * sizeof *frame);
    uint32_t *size = malloc(count * sizeof *size);
    for (uint64_t i = at = 0; i < count; i++) {
        size[i] = *(uint32_t *)(raw + at);
        frame[i] = raw + at + 4;
        at += 4 + size[i];
    }
    uint64_t room = RING_BYTES + len * (uint64_t)group;
    ring = malloc(room + (1 << 20));
    offset = malloc((room / 4 + 2) * sizeof *offset);
    uint64_t next = 0;
    do {
        uint64_t bytes = 0;
        for (int i = 0; i < group; i++) bytes += size[(next + i) % count];
        offset[groups++] = ring_len;
        ring_len += (uint64_t)sprintf(ring + ring_len, "%llx\r\n", (unsigned long long)bytes);
        for (int i = 0; i < group; i++, next++) {
            memcpy(ring + ring_len, frame[next % count], size[next % count]);
            ring_len += size[next % count];
        }
        memcpy(ring + ring_len, "\r\n", 2);
        ring_len += 2;
    } while (ring_len < RING_BYTES || next % count);
    offset[groups] = ring_len;
}

static uint64_t bytes_of(uint64_t chunks) {
    return chunks / groups * ring_len + offset[chunks % groups];
}

static void set_head(const char *tail_path) {
    uint64_t len;
    char *raw = load(tail_path, &len);
    const char *kind = len && raw[0] == '{' ? "application/x-ndjson" : "text/event-stream";
    tail = malloc(len + 64);
    tail_len = (uint64_t)sprintf(tail, "%llx\r\n", (unsigned long long)len);
    memcpy(tail + tail_len, raw, len);
    tail_len += len;
    tail_len += (uint64_t)sprintf(tail + tail_len, "\r\n0\r\n\r\n");
    head = malloc(256);
    head_len = (uint64_t)sprintf(head, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"
                                       "transfer-encoding: chunked\r\n\r\n", kind);
}

static void end_connection(connection *c) {
    if (c->streaming) streaming_now--;
    all[c->fd] = NULL;
    close(c->fd);
    free(c->request);
    free(c);
}

/* The whole request, once it is there: 1; not yet: 0; nonsense: -1. */
static int request_complete(const char *data, size_t have) {
    const char *end = memmem(data, have, "\r\n\r\n", 4);
    if (!end) return have >= REQUEST_BYTES ? -1 : 0;
    const char *field = strcasestr(data, "\ncontent-length:");
    size_t body = field && field < end ? strtoul(field + 16, NULL, 10) : 0;
    size_t whole = (size_t)(end - data) + 4 + body;
    if (whole >= REQUEST_BYTES) return -1;
    return have >= whole;
}

/* Send from `from`, as much as the socket takes; -1 if it is broken. */
static ssize_t put(int fd, const char *from, uint64_t len) {
    ssize_t n = send(fd, from, len, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return n;
}

static void wait_for_room(connection *c, int wait) {
    if (c->waits_for_room == wait) return;
    c->waits_for_room = wait;
    struct epoll_event e = {.events = EPOLLIN | (wait ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

/* Send what may be sent by now; returns 0 when the connection is gone. */
static int push(connection *c) {
    uint64_t allowed = c->chunks >= total_chunks ? c->target + tail_len : bytes_of(c->chunks);
    uint64_t burst = 0;
    ssize_t n = 0;
    if (c->head_sent < head_len) {
        n = put(c->fd, head + c->head_sent, head_len - c->head_sent);
        if (n < 0) { end_connection(c); return 0; }
        c->head_sent += (uint64_t)n;
    }
    while (c->head_sent == head_len && c->sent < allowed && burst < BURST_BYTES) {
        const char *from;
        uint64_t len;
        if (c->sent < c->target) {
            uint64_t at = c->sent % ring_len, end = allowed < c->target ? allowed : c->target;
            from = ring + at;
            len = end - c->sent < ring_len - at ? end - c->sent : ring_len - at;
        } else {
            from = tail + (c->sent - c->target);
            len = c->target + tail_len - c->sent;
        }
        if (len > BURST_BYTES) len = BURST_BYTES;
        n = put(c->fd, from, len);
        if (n < 0) { end_connection(c); return 0; }
        if (n == 0) break;
        c->sent += (uint64_t)n;
        burst += (uint64_t)n;
    }
    if (c->sent == c->target + tail_len) {
        c->streaming = 0;
        streaming_now--;
        wait_for_room(c, 0);
    } else {
        wait_for_room(c, c->sent < allowed || c->head_sent < head_len);
    }
    return 1;
}

static void start(connection *c) {
    requests++;
    c->have = 0;
    c->streaming = 1;
    /* No two models begin to speak at the same moment: spread the first words over a second. */
    c->began = now() + (rate > 0 ? (double)(requests * 379 % 1000) / 1000 : 0);
    c->head_sent = c->sent = 0;
    c->target = bytes_of(total_chunks);
    c->chunks = rate > 0 ? 0 : total_chunks;
    if (rate <= 0) chunks_out += total_chunks;
    if (++streaming_now > streaming_most) streaming_most = streaming_now;
    push(c);
}

static void readable(connection *c) {
    ssize_t n = recv(c->fd, c->request + c->have, REQUEST_BYTES - c->have, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) end_connection(c);
        return;
    }
    c->have += (size_t)n;
    c->request[c->have] = 0;
    int whole = request_complete(c->request, c->have);
    if (whole < 0) end_connection(c);
    else if (whole && !c->streaming) start(c);
}

static void welcome(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST_CONNECTIONS) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connection *c = calloc(1, sizeof *c);
        c->request = malloc(REQUEST_BYTES + 1);
        c->fd = fd;
        all[fd] = c;
        if (fd > top_fd) top_fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

/* Every stream's next chunk is due at began + (chunks + 1) / rate. */
static void tick(void) {
    double at = now();
    for (int fd = 0; fd <= top_fd; fd++) {
        connection *c = all[fd];
        if (!c || !c->streaming) continue;
        uint64_t due = at > c->began ? (uint64_t)((at - c->began) * rate) : 0;
        if (due > total_chunks) due = total_chunks;
        if (due <= c->chunks) continue;
        if (at - (c->began + (double)(c->chunks + 1) / rate) > LATE_SECONDS) {
            chunks_late += due - c->chunks;
        }
        chunks_out += due - c->chunks;
        c->chunks = due;
        push(c);
    }
}

static void report(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("{\"requests\": %llu, \"chunks\": %llu, \"late\": %llu, \"streams\": %d, \"cpu\": %.3f}\n",
           (unsigned long long)requests, (unsigned long long)chunks_out,
           (unsigned long long)chunks_late, streaming_most,
           (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec +
               (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6);
    fflush(stdout);
}

#ifdef WITH_TLS
static SSL_CTX *tls;

static void *serve_tls(void *given) {
    int fd = (int)(intptr_t)given, n;
    SSL *ssl = SSL_new(tls);
    char *request = malloc(REQUEST_BYTES + 1);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) != 1) goto out;
    for (;;) {
        size_t have = 0;
        while (!request_complete(request, have)) {
            n = SSL_read(ssl, request + have, (int)(REQUEST_BYTES - have));
            if (n <= 0) goto out;
            have += (size_t)n;
            request[have] = 0;
        }
        if (SSL_write(ssl, head, (int)head_len) <= 0) goto out;
        for (uint64_t i = 0; i < total_chunks; i++) {
            uint64_t at = i % groups;
            if (SSL_write(ssl, ring + offset[at], (int)(offset[at + 1] - offset[at])) <= 0) goto out;
        }
        if (SSL_write(ssl, tail, (int)tail_len) <= 0) goto out;
    }
out:
    SSL_free(ssl);
    close(fd);
    free(request);
    return NULL;
}

static void *watch_stdin(void *unused) {
    char byte;
    (void)unused;
    while (read(0, &byte, 1) > 0) {}
    report();
    _exit(0);
}

static void loop_tls(int listener, const char *cert, const char *key) {
    pthread_t thread;
    tls = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) die("certificate");
    pthread_create(&thread, NULL, watch_stdin, NULL);
    fcntl(listener, F_SETFL, 0);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        pthread_create(&thread, NULL, serve_tls, (void *)(intptr_t)fd);
        pthread_detach(thread);
    }
}
#endif

static void loop(int listener) {
    struct epoll_event events[512], e = {.events = EPOLLIN};
    poller = epoll_create1(0);
    e.data.fd = listener;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    e.data.fd = 0;
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &e);
    double next = 0;
    for (;;) {
        int n = epoll_wait(poller, events, 512, rate > 0 && streaming_now ? 1 : 1000);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) { report(); return; }
            if (fd == listener) { welcome(listener); continue; }
            if (all[fd] && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(all[fd]);
            if (all[fd] && all[fd]->streaming && events[i].events & EPOLLOUT) push(all[fd]);
        }
        if (rate > 0 && now() >= next) {
            tick();
            next = now() + 0.001;
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    int group = atoi(argv[4]);
    build(argv[1], group);
    set_head(argv[2]);
    total_chunks = (strtoull(argv[3], NULL, 10) + (uint64_t)group - 1) / (uint64_t)group;
    rate = atof(argv[5]);
    struct rlimit files = {MOST_CONNECTIONS, MOST_CONNECTIONS};
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, len) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &len);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
#ifdef WITH_TLS
    if (argc > 7) loop_tls(listener, argv[6], argv[7]);
    else
#endif
    loop(listener);
    return 0;
}
