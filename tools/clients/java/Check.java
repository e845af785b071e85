import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorCompletionService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.KafkaFuture;

/** Expectations of the client programs: the first that fails ends the program with a message. */
final class Check {
    static final String RUN = Long.toString(System.nanoTime() & 0xffffffL, 36);

    static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError("expected: " + what);
        }
    }

    static void equal(Object want, Object got, String what) {
        if (!Objects.deepEquals(want, got)) {
            throw new AssertionError(what + ": want " + show(want) + ", got " + show(got));
        }
    }

    /** A part of a program, of which many wait at a time. */
    interface Scene {
        void play() throws Exception;
    }

    /** Plays them beside each other, four at a time; the first that fails ends the program. */
    static void together(List<Scene> scenes) throws Exception {
        var threads = Executors.newFixedThreadPool(4, it -> {
            var thread = new Thread(it);
            thread.setDaemon(true);
            return thread;
        });
        var playing = new ExecutorCompletionService<Void>(threads);
        for (Scene scene : scenes) {
            playing.submit(() -> {
                scene.play();
                return null;
            });
        }
        for (int at = 0; at < scenes.size(); at++) {
            playing.take().get();
        }
        threads.shutdown();
    }

    /** The call fails with this exception, at the top or as the cause. */
    static void refused(Class<? extends Throwable> want, Callable<?> call, String what) throws Exception {
        Object answer;
        try {
            answer = call.call();
        } catch (Exception exception) {
            Throwable error = exception instanceof ExecutionException ? exception.getCause() : exception;
            if (!want.isInstance(error)) {
                throw new AssertionError(what + ": want " + want.getSimpleName() + ", got " + error, error);
            }
            return;
        }
        throw new AssertionError(what + ": want " + want.getSimpleName() + ", got an answer: " + answer);
    }

    /** Apache Kafka's controller answers before its broker knows: asks again for up to 10 s, as its own tests do. */
    static <T> T soon(Callable<T> call) throws Exception {
        for (int turn = 0; ; turn++) {
            try {
                return call.call();
            } catch (AssertionError | Exception error) {
                if (turn == 100) {
                    throw error;
                }
                Thread.sleep(100);
            }
        }
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    static Admin admin(String broker) {
        return Admin.create(Map.of("bootstrap.servers", broker, "request.timeout.ms", "20000"));
    }

    static Properties properties(String broker, Object... pairs) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        for (int at = 0; at < pairs.length; at += 2) {
            properties.put(pairs[at], pairs[at + 1]);
        }
        return properties;
    }

    private static String show(Object value) {
        if (value instanceof byte[] bytes) {
            return bytes.length + " bytes " + Arrays.toString(Arrays.copyOf(bytes, Math.min(bytes.length, 12)));
        }
        return String.valueOf(value);
    }
}
