/** The log4j2.properties of a server of Java's: what matters goes to its output, which is kept as its log. */
export const LOG4J: string = `status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
`;
